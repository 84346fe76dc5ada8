"""ParaRel's facts with the neurons that EleutherAI published for them, where they are at hand: what was counted."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from knedit.attribution.refine import Thresholds, refine
from knedit.catalog.formats import eleuther
from knedit.catalog.formats.streams import stop
from knedit.catalog.store import Catalog
from knedit.flows.facts import import_file
from knedit.records import AttributedFact, AttributionRun, Checkpoint, CoarseCount, Refinement

FOLDER = Path(os.environ.get("KNEDIT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no folder of published data at {FOLDER}"),
]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """Yield a catalog of them all; its one refinement has the roles that refinement gives."""
    if request.param == "postgres":
        url = request.getfixturevalue("another_postgres_url")
    else:
        url = str(tmp_path_factory.mktemp("published") / "facts.db")
    with Catalog(url) as catalog:
        import_file(catalog, FOLDER / "pararel", format="pararel")
        _put_neurons(catalog)
        yield catalog


def _put_neurons(catalog: Catalog) -> None:
    facts = {fact.id: fact for fact in catalog.facts()}
    known = {source.key: source.fact_id for source in catalog.sources(list(facts))}
    held = {known[one.key]: one.neurons for one in eleuther.read(FOLDER / "bert_neurons", stop)}
    model = catalog.add_checkpoint(Checkpoint.named("bert-base-uncased", "main", n_layers=12, ffn_width=3072))
    now = datetime.now(UTC)
    run = catalog.open_run(AttributionRun(AttributionRun.identify(model.id, {}), model.id, {}, "0.0.2", now))
    refinement = Refinement(Refinement.identify(run.id, {}), run.id, {}, now)
    asked = [AttributedFact(fact, facts[fact].relation_id, 1) for fact in held]
    counts = (
        CoarseCount(fact, facts[fact].relation_id, layer, index, 1, 1.0)
        for fact, neurons in held.items()
        for layer, index in neurons
    )
    catalog.put_refinement(refinement, *refine(refinement.id, asked, counts, Thresholds(min_prompts=1)))


def test_the_hubs_are_those_that_were_counted(published: Catalog) -> None:
    own = published.refinements()[0].id
    found = published.hubs(own, limit=3)
    assert [(one.layer, one.index, one.facts, one.role) for one in found] == [
        (10, 2484, 6665, "generic"),
        (10, 925, 6245, "generic"),
        (7, 2778, 5727, "generic"),
    ]
    assert found[0].share_of_facts == 6665 / 27_593
    assert len(published.hubs(own, limit=None)) == 5688
    born = published.find_relation("P19")
    (most, *_) = published.relation_neurons(own, born.id)
    assert (most.layer, most.index, most.facts) == (10, 2484, 737)
    assert len(published.facts(relation="P19")) == 779
    assert len(published.users_of(own, 10, 2484)) == 6665


def test_two_facts_share_three_neurons_within_a_relation_and_less_than_half_of_one_across(published: Catalog) -> None:
    own = published.refinements()[0].id
    found = published.overlap(own)
    assert found.within is not None
    assert found.across is not None
    assert found.mean_neurons == 304_563 / 27_593
    assert (found.facts, round(found.within, 4), round(found.across, 4)) == (27_593, 3.0263, 0.4059)
    within = {one.relation: one.mean_shared for one in published.overlap_matrix(own) if one.relation == one.other}
    assert within == {one.relation: one.within for one in found.relations}


def test_the_upper_layers_hold_most_rows(published: Catalog) -> None:
    layers = published.layer_counts(published.refinements()[0].id)
    assert (sum(one.uses for one in layers), sum(one.neurons for one in layers)) == (304_563, 5688)
    assert round(sum(one.share for one in layers if 8 <= one.layer <= 11), 3) == 0.840


def test_other_users_are_counted_alike_from_the_counts_and_from_the_rows(published: Catalog) -> None:
    own = published.refinements()[0].id
    fact = published.find_fact("P36/France")
    found = published.fact_neurons(own, fact.id, users=1)
    assert [(one.neuron.layer, one.neuron.index, one.others) for one in found if one.others > 2000] == [
        *((7, 2200, 4900), (10, 2484, 6664), (11, 489, 2648)),
    ]
    assert [one.others + 1 for one in found] == [
        len(published.users_of(own, one.neuron.layer, one.neuron.index)) for one in found
    ]


def test_a_search_finds_facts_and_prompts(published: Catalog) -> None:
    assert {one.fact.subject for one in published.search_facts('"new york city"')} == {"New York City"}
    assert len(published.search_prompts("is", limit=50)) == 50
    assert [one.prompt.text for one in published.search_prompts('"capital of France" is', limit=50)] != []
