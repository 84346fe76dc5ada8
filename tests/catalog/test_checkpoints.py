from dataclasses import replace

import pytest

from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Checkpoint, show_id
from tests.catalog import making
from tests.catalog.making import MODEL, checkpoint

CHILD = checkpoint("patched", parent=MODEL)


def test_checkpoints_come_back_whole_and_by_name(catalog: Catalog) -> None:
    assert catalog.add_checkpoint(MODEL) == MODEL
    assert catalog.add_checkpoint(CHILD) == CHILD
    assert catalog.checkpoints() == [CHILD, MODEL]


def test_adding_a_checkpoint_again_refreshes_what_is_given_and_keeps_the_rest(catalog: Catalog) -> None:
    catalog.add_checkpoint(MODEL)
    catalog.add_checkpoint(CHILD)
    again = replace(CHILD, name="moved", revision="", parent_id=None, path="/models/moved", files={})
    expected = replace(CHILD, name="moved", path="/models/moved")
    assert catalog.add_checkpoint(again) == expected
    assert catalog.checkpoints() == [expected, MODEL]


def test_a_checkpoint_first_added_without_its_parent_gets_it_later(catalog: Catalog) -> None:
    catalog.add_checkpoint(MODEL)
    catalog.add_checkpoint(replace(CHILD, parent_id=None))
    assert catalog.add_checkpoint(CHILD) == CHILD


def test_a_name_of_another_checkpoint_is_refused(catalog: Catalog) -> None:
    catalog.add_checkpoint(MODEL)
    with pytest.raises(CatalogError) as caught:
        catalog.add_checkpoint(replace(CHILD, name="tiny", parent_id=None))
    assert str(caught.value) == (
        f'The name "tiny" belongs to another checkpoint, {show_id(MODEL.id)}. Give this one another name with --name.'
    )
    assert catalog.checkpoints() == [MODEL]


def test_an_unknown_parent_is_refused(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match=r"(?i)foreign key"):
        catalog.add_checkpoint(CHILD)


@pytest.mark.parametrize("reference", ["tiny", show_id(MODEL.id), show_id(MODEL.id)[:5], "0404", MODEL.sha256.upper()])
def test_a_checkpoint_is_found_by_name_id_or_sha256(catalog: Catalog, reference: str) -> None:
    catalog.add_checkpoint(MODEL)
    catalog.add_checkpoint(CHILD)
    assert catalog.find_checkpoint(reference) == MODEL


def test_a_name_goes_before_a_beginning_of_an_id(catalog: Catalog) -> None:
    catalog.add_checkpoint(MODEL)
    named = catalog.add_checkpoint(checkpoint(show_id(MODEL.id)[:6], sha256="ef" * 32))
    assert catalog.find_checkpoint(show_id(MODEL.id)[:6]) == named


def test_an_ambiguous_beginning_lists_the_checkpoints(catalog: Catalog) -> None:
    one = catalog.add_checkpoint(checkpoint("one", sha256="abcdef" + "0" * 58))
    two = catalog.add_checkpoint(checkpoint("two", sha256="abcdef" + "1" * 58))
    with pytest.raises(CatalogError) as caught:
        catalog.find_checkpoint("abcdef")
    assert str(caught.value) == (
        '2 checkpoints begin with "abcdef". '
        f"Name one of one ({show_id(one.id)}, sha256 abcdef000000), two ({show_id(two.id)}, sha256 abcdef111111)."
    )


@pytest.mark.parametrize("reference", ["tinny", "040", "", "ffff"])
def test_an_unknown_checkpoint_is_refused_with_near_ones(catalog: Catalog, reference: str) -> None:
    catalog.add_checkpoint(MODEL)
    with pytest.raises(CatalogError, match=rf'There is no checkpoint "{reference}" in the catalog\. .*tiny'):
        catalog.find_checkpoint(reference)


def test_an_empty_catalog_says_how_to_add_a_checkpoint(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match="Run: knedit checkpoint add FOLDER"):
        catalog.find_checkpoint("tiny")


def named(revision: str = "main", n_layers: int = 0, ffn_width: int = 0) -> Checkpoint:
    return Checkpoint.named("bert", revision, n_layers=n_layers, ffn_width=ffn_width)


def test_a_checkpoint_is_registered_by_name_and_revision_alone_and_takes_its_size_later(catalog: Catalog) -> None:
    assert catalog.register_checkpoint(named()) == named()
    assert catalog.register_checkpoint(named(n_layers=12)) == named(n_layers=12)
    assert catalog.register_checkpoint(named(ffn_width=3072)) == named(n_layers=12, ffn_width=3072)
    assert catalog.register_checkpoint(named()) == named(n_layers=12, ffn_width=3072)
    with pytest.raises(CatalogError, match="has 12 layers, not 24"):
        catalog.register_checkpoint(named(n_layers=24))
    assert catalog.checkpoints() == [named(n_layers=12, ffn_width=3072)]


def test_a_size_that_the_catalogs_neurons_exceed_is_refused(catalog: Catalog) -> None:
    catalog.register_checkpoint(named())
    run = replace(making.RUN, checkpoint_id=named().id)
    catalog.import_facts(making.FACTS)
    catalog.open_run(run)
    refined = [making.refined(making.PARIS, 1)]
    catalog.put_refinement(making.REFINEMENT, refined, [making.neuron(making.PARIS, 4, 50, 1.0)])
    catalog.put_attributions([making.attribution(making.PARIS_IS)], [making.score(making.PARIS_IS, 5, 40, 1.0)])
    for wanted, words in (
        (named(n_layers=4), "layer 5"),
        (named(n_layers=5), "layer 5"),
        (named(ffn_width=50), "neuron 50"),
    ):
        with pytest.raises(CatalogError, match=f"The catalog has {words} of the checkpoint"):
            catalog.register_checkpoint(wanted)
    assert catalog.register_checkpoint(named(n_layers=6, ffn_width=51)) == named(n_layers=6, ffn_width=51)


def test_a_name_with_and_without_files_is_refused_with_a_cure_that_works(catalog: Catalog) -> None:
    catalog.register_checkpoint(named())
    with pytest.raises(CatalogError, match=r"which has no files\. Register another name, as bert@v2\."):
        catalog.register_checkpoint(named("v2"))
    with pytest.raises(CatalogError, match=r"has no files\. Give this one another name with --name, and import the"):
        catalog.add_checkpoint(checkpoint("bert"))
    catalog.add_checkpoint(MODEL)
    with pytest.raises(CatalogError, match=r"It has files: import neurons for it \(--checkpoint tiny\)"):
        catalog.register_checkpoint(Checkpoint.named("tiny", "main"))
