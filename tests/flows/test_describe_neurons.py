"""Readings of neurons on their way into the catalog, and the sheet of one neuron."""

from pathlib import Path

import pytest

from knedit.analysis.vocabulary_reading import read_values
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError, CheckpointError
from knedit.flows.checkpoint import load_checkpoint
from knedit.flows.describe_neurons import choose_places, describe_neurons, read_place
from knedit.flows.neuron_sheet import neuron_sheet, only_checkpoint
from knedit.records import Checkpoint, show_id
from tests.flows.making import attributed, open_catalog, save_model


def quick(checkpoint: Checkpoint) -> object:
    return load_checkpoint(checkpoint, device="cpu")


def test_all_neurons_of_a_refinement_are_read_and_kept(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, save_model("gpt2", tmp_path / "base"))
        refinement = catalog.latest_refinement(checkpoint.id)
        held = {
            (one.layer, one.index) for fact in catalog.facts() for one in catalog.neurons_of(refinement.id, fact.id)
        }
        places = choose_places(catalog, checkpoint)
        assert places == choose_places(catalog, checkpoint, refinement=show_id(refinement.id)[:6]) == sorted(held)
        assert describe_neurons(catalog, checkpoint, lambda _: model, places, top=3, memory=30_000) == len(places)
        kept = list(catalog.descriptions(checkpoint.id))
        assert [(one.layer, one.index) for one in kept] == places
        (expected,) = (one for some in read_values(model, places[:1], top=3, memory=2**20) for one in some)
        for end, words in (("top", expected.top), ("bottom", expected.bottom)):
            assert [word for word, _ in kept[0].reading[end]] == [word for word, _ in words]
            assert [logit for _, logit in kept[0].reading[end]] == pytest.approx([logit for _, logit in words])


def test_neurons_are_read_by_name_and_again(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, save_model("bert", tmp_path / "base"))
        places = choose_places(catalog, checkpoint, neurons=["2:47", "0:3", "2:47"])
        assert places == [(0, 3), (2, 47)]
        for top in (2, 5):
            describe_neurons(catalog, checkpoint, lambda _: model, places, top=top)
        found = list(catalog.descriptions(checkpoint.id))
        assert [[len(one.reading[end]) for end in ("top", "bottom")] for one in found] == [[5, 5], [5, 5]]


def test_a_sheet_gathers_what_is_known(tmp_path: Path) -> None:
    with open_catalog(tmp_path) as catalog:
        checkpoint, model = attributed(catalog, save_model("gpt2", tmp_path / "base"))
        (layer, index), *_ = choose_places(catalog, checkpoint)
        blank = neuron_sheet(catalog, checkpoint, layer, index)
        assert (blank.labels, blank.notes, blank.description) == ((), (), None)
        users = catalog.users_of(catalog.latest_refinement(checkpoint.id).id, layer, index)
        assert sum(blank.roles.values()) == len(users) > 0
        describe_neurons(catalog, checkpoint, lambda _: model, [(layer, index)])
        catalog.label_neurons(checkpoint.id, [(layer, index)], "hub", by="Ada")
        note = catalog.note_neuron(checkpoint.id, layer, index, "capitals", by="Ada")
        sheet = neuron_sheet(catalog, checkpoint, layer, index)
        assert ([one.label for one in sheet.labels], sheet.notes) == (["hub"], (note,))
        assert sheet.description == catalog.description(checkpoint.id, layer, index)


def test_what_cannot_be_read_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    def never(checkpoint: Checkpoint) -> object:
        raise AssertionError(checkpoint)

    with open_catalog(tmp_path) as catalog:
        published = catalog.add_checkpoint(Checkpoint.named("published", "main", n_layers=12, ffn_width=3072))
        with pytest.raises(CatalogError, match=r"no neuron of published was refined .*--neuron LAYER:INDEX"):
            choose_places(catalog, published)
        with pytest.raises(CatalogError, match="0 refinements begin with 'ffff'"):
            choose_places(catalog, published, refinement="ffff")
        with pytest.raises(CatalogError, match=r"no neuron \(12, 0\)"):
            describe_neurons(catalog, published, never, [(12, 0)])  # type: ignore[arg-type]
        with pytest.raises(CheckpointError, match="known by name and revision alone"):
            describe_neurons(catalog, published, quick, [(11, 0)])  # type: ignore[arg-type]
        with pytest.raises(CatalogError, match=r"no neuron \(0, 3072\)"):
            neuron_sheet(catalog, published, 0, 3072)


@pytest.mark.parametrize("word", ["10", "a:b", "1:", ":1", "1:2:3", "-1:2", "1:²", "1.5:2"])
def test_a_neuron_is_named_by_two_numbers(word: str) -> None:
    with pytest.raises(CatalogError, match="a neuron is written LAYER:INDEX"):
        read_place(word)


def test_the_only_checkpoint_needs_no_name(tmp_path: Path) -> None:
    with Catalog(str(tmp_path / "facts.db")) as catalog:
        with pytest.raises(CatalogError, match=r"there is no checkpoint .*knedit checkpoint add"):
            only_checkpoint(catalog, None)
        one = catalog.add_checkpoint(Checkpoint.named("one", "main"))
        assert only_checkpoint(catalog, None) == only_checkpoint(catalog, "one") == one
        catalog.add_checkpoint(Checkpoint.named("two", "main"))
        with pytest.raises(CatalogError, match=r"several checkpoints: one, two .*--checkpoint"):
            only_checkpoint(catalog, None)
