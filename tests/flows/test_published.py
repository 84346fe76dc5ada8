"""Published neurons and scores go into a catalog once, joined to its facts, with roles; and come out as published."""

import json
from collections import Counter
from dataclasses import astuple
from pathlib import Path
from random import Random

import pytest

from knedit.attribution.refine import Thresholds, refine
from knedit.catalog.answers import Count
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError, FactsError, KneditError
from knedit.flows.configuration import setting_of
from knedit.flows.facts import Skipped, import_file
from knedit.flows.published import export_neurons, import_neurons
from knedit.flows.refine import refine_checkpoint
from knedit.records import AttributedFact, Checkpoint, CoarseCount, Fact, FactSource, KnowledgeNeuron, Relation, show_id
from tests.catalog.formats import making

BERT = Checkpoint.named("bert", "main")


def everything(catalog: Catalog) -> list[list[list[object]]]:
    """Return all rows of the tables that an import of neurons fills."""
    tables = ("checkpoints", "attribution_runs", "prompt_attributions", "neuron_scores", "refinements", "refined_facts")
    counted = ("knowledge_neurons", "neuron_counts", "refined_relations")
    return [[list(row) for row in catalog.table_rows(name)[1]] for name in (*tables, *counted)]


@pytest.fixture
def world(tmp_path: Path, catalog: Catalog) -> Catalog:
    """A catalog of ParaRel's and the paper's facts: Hill–Ada under two keys, Dale–Bo under one."""
    import_file(catalog, making.pararel(tmp_path))
    import_file(catalog, making.kn_paper(tmp_path))
    return catalog


def test_neurons_join_their_facts_and_a_second_time_change_nothing(tmp_path: Path, world: Catalog) -> None:
    path = making.eleuther(tmp_path)
    (first,) = import_neurons(world, path, "bert", revision="main")
    assert (first.records, first.neurons) == (Count(3, 2), Count(4, 2))
    assert {type(number) for number in (*astuple(first.records), *astuple(first.neurons))} == {int}
    assert world.checkpoints() == [BERT]
    assert dict(first.run.config) == {"published": "neurons", "format": "eleuther", "dataset": "pararel"}
    assert first.run.finished_at is not None
    (refinement,) = world.refinements()
    facts = {fact.id: fact.subject for fact in world.facts()}
    refined = {facts[one.fact_id]: (one.prompts, one.share, one.neurons) for one in world.refined_facts(refinement.id)}
    assert refined == {"Hill": (None, None, 2), "Dale": (None, None, 0)}
    hill = next(own for own, subject in facts.items() if subject == "Hill")
    assert world.neurons_of(refinement.id, hill) == [
        KnowledgeNeuron(refinement.id, hill, layer, index, None, None, "fact") for layer, index in ((0, 5), (10, 188))
    ]
    held = everything(world)
    (again,) = import_neurons(world, path, "bert")
    assert (again.records, again.neurons) == (Count(3, 0), Count(4, 0))
    assert everything(world) == held


def test_a_second_file_adds_to_the_same_refinement(tmp_path: Path, world: Catalog) -> None:
    import_neurons(world, making.write_json(tmp_path / "a.json", {"u-1": [[1, 1]]}), "bert", revision="main")
    import_neurons(world, making.write_json(tmp_path / "b.json", {"u-2": [[1, 1], [1, 2]]}), "bert", revision="main")
    whole = making.write_json(tmp_path / "c.json", {"u-1": [[1, 1]], "u-2": [[1, 2], [1, 1]]})
    (again,) = import_neurons(world, whole, "bert")
    assert (again.records, again.neurons) == (Count(2, 0), Count(3, 0))
    (refinement,) = world.refinements()
    roles = Counter((one[2], one[3], one[6]) for one in world.table_rows("knowledge_neurons")[1])
    assert roles == {(1, 1, "relation"): 2, (1, 2, "fact"): 1}
    assert [(hub.layer, hub.index, hub.facts, hub.roles) for hub in world.hubs(refinement.id)] == [
        (1, 1, 2, {"fact": 0, "relation": 2, "generic": 0}),
        (1, 2, 1, {"fact": 1, "relation": 0, "generic": 0}),
    ]
    assert [row[2:] for row in world.table_rows("refined_relations")[1]] == [[2, 3]]


def test_keys_of_no_fact_stop_the_import_or_are_told(tmp_path: Path, world: Catalog) -> None:
    path = making.write_json(tmp_path / "n.json", {"u-9": [[1, 1]], "u-1": [[1, 2]], "u-8": []})
    with pytest.raises(FactsError, match=r"2 of 3 records are of nothing .* u-9, u-8 .* Import the facts first"):
        import_neurons(world, path, "bert", revision="main")
    assert everything(world) == [[] for _ in everything(world)]
    skipped = Skipped()
    (count,) = import_neurons(world, path, "bert", revision="main", fault=skipped)
    assert (count.records, count.neurons, skipped.count) == (Count(3, 1), Count(2, 1), 1)


def test_without_any_known_key_nothing_is_imported(tmp_path: Path, catalog: Catalog) -> None:
    path = making.eleuther(tmp_path)
    with pytest.raises(FactsError, match="Import the facts first"):
        import_neurons(catalog, path, "bert", revision="main", fault=Skipped())
    assert everything(catalog) == [[] for _ in everything(catalog)]


def test_two_keys_of_one_fact_that_differ_are_told_and_the_first_is_kept(tmp_path: Path, world: Catalog) -> None:
    path = making.write_json(tmp_path / "n.json", {"u-3": [[1, 1]], "u-1": [[1, 2]]})
    with pytest.raises(FactsError, match="1 records tell other neurons than an earlier one of the same: u-1 after u-3"):
        import_neurons(world, path, "bert", revision="main")
    import_neurons(world, path, "bert", revision="main", fault=Skipped())
    assert [row[2:4] for row in world.table_rows("knowledge_neurons")[1]] == [[1, 1]]


@pytest.mark.parametrize("other", [[[1, 2]], [], [[1, 1], [1, 2]]])
def test_neurons_that_differ_from_the_catalogs_are_told_and_not_taken(
    tmp_path: Path, world: Catalog, other: list[list[int]]
) -> None:
    import_neurons(world, making.write_json(tmp_path / "a.json", {"u-1": [[1, 1]]}), "bert", revision="main")
    held, skipped = everything(world), Skipped()
    path = making.write_json(tmp_path / "b.json", {"u-1": other})
    with pytest.raises(FactsError, match="1 records tell other neurons than the catalog has: u-1"):
        import_neurons(world, path, "bert", format="eleuther")
    import_neurons(world, path, "bert", format="eleuther", fault=skipped)
    assert (skipped.count, everything(world)) == (1, held)


def test_the_papers_neurons_and_those_of_its_baseline_are_two_runs(tmp_path: Path, world: Catalog) -> None:
    path = making.bags(tmp_path / "paper")
    path.with_name("base_kn_bag-P1.json").write_text("[[[1, 1]]]")
    counts = import_neurons(world, path.parent, "bert", revision="main", format="kn-paper-neurons")
    told = [(one.run.config["method"], one.records, one.neurons) for one in counts]
    assert told == [("base", Count(1, 1), Count(1, 1)), ("ig_gold", Count(3, 2), Count(5, 3))]


def test_scores_join_their_prompts_and_can_be_refined(tmp_path: Path, world: Catalog) -> None:
    path = making.scores(tmp_path)
    counts = import_neurons(world, path, "bert", revision="main")
    told = [(one.run.config["method"], one.refinement_id, one.records, one.neurons) for one in counts]
    assert told == [("ig_gold", None, Count(1, 1), Count(2, 2)), ("base", None, Count(1, 1), Count(1, 1))]
    gold = counts[0].run
    (attribution,) = world.attributions(gold.id)
    assert (attribution.peak, attribution.probability, attribution.status) == (1.0, 0.0, "ok")
    assert attribution.reason == "published without the answer's probability"
    held = everything(world)
    assert [one.records.added for one in import_neurons(world, path, "bert")] == [0, 0]
    assert everything(world) == held
    thresholds = Thresholds(threshold=0.6, min_prompts=1)
    _, facts, neurons = refine_checkpoint(world, BERT, thresholds, run=show_id(gold.id))
    assert [(one.prompts, one.neurons) for one in facts] == [(1, 1)]
    assert [(one.layer, one.index, one.score) for one in neurons] == [(8, 2, 1.0)]
    with pytest.raises(CatalogError, match=r"below 0\.1, down to which scores were kept"):
        refine_checkpoint(world, BERT, Thresholds(threshold=0.05), run=show_id(gold.id))
    with pytest.raises(CatalogError, match="published by others and cannot be repeated"):
        setting_of(world, show_id(gold.id))


@pytest.mark.parametrize("part", ['"Hi"', '"Ada"'])
def test_scores_of_a_prompt_that_is_not_there_are_told(tmp_path: Path, world: Catalog, part: str) -> None:
    path = making.scores(tmp_path)
    path.write_text(path.read_text().replace(part, '"Fell"'))
    with pytest.raises(FactsError, match="2 of 2 records are of nothing that the catalog has: P1#0"):
        import_neurons(world, path, "bert", revision="main")
    assert everything(world) == [[] for _ in everything(world)]


def test_scores_that_differ_from_the_catalogs_are_told(tmp_path: Path, world: Catalog) -> None:
    path = making.scores(tmp_path)
    import_neurons(world, path, "bert", revision="main")
    path.write_text(path.read_text().replace("0.5", "0.25"))
    with pytest.raises(FactsError, match="1 records tell other neurons than the catalog has: P1#0"):
        import_neurons(world, path, "bert")


def test_neurons_beyond_the_checkpoint_are_a_fault(tmp_path: Path, world: Catalog) -> None:
    world.register_checkpoint(Checkpoint.named("small", "main", n_layers=10))
    path = making.eleuther(tmp_path)
    with pytest.raises(FactsError, match=r'neuron \(10, 188\) of "u-1" is beyond the checkpoint "small", which has 10'):
        import_neurons(world, path, "small")
    skipped = Skipped()
    (count,) = import_neurons(world, path, "small", fault=skipped)
    assert (count.records, skipped.count) == (Count(1, 1), 2)


def test_a_checkpoint_that_is_not_known_or_of_another_revision_is_told(tmp_path: Path, world: Catalog) -> None:
    path = making.eleuther(tmp_path)
    with pytest.raises(CatalogError, match="knedit checkpoint register bert --revision R"):
        import_neurons(world, path, "bert")
    with pytest.raises(CatalogError, match="revision is empty"):
        import_neurons(world, path, "bert", revision=" ")
    import_neurons(world, path, "bert", revision="main")
    with pytest.raises(CatalogError, match='is of revision "main", not "v2"'):
        import_neurons(world, path, "bert", revision="v2")


def test_a_run_of_neurons_alone_cannot_be_refined(tmp_path: Path, world: Catalog) -> None:
    import_neurons(world, making.eleuther(tmp_path), "bert", revision="main")
    with pytest.raises(CatalogError, match=r"no attribution to refine.* with published scores"):
        refine_checkpoint(world, BERT, Thresholds())


@pytest.fixture
def many(catalog: Catalog) -> Catalog:
    """A catalog of 150 facts in six relations, with keys."""
    relations = [Relation.make(f"r{number}") for number in range(6)]
    facts = [Fact.make(relations[number % 6].id, str(number), "x") for number in range(150)]
    keys = [FactSource(fact.id, "pararel", f"u-{fact.subject}") for fact in facts]
    catalog.import_facts([*relations, *facts, *keys])
    return catalog


def test_roles_are_those_that_refinement_gives_however_many_files_there_are(tmp_path: Path, many: Catalog) -> None:
    chance = Random(7)
    facts = {f"u-{fact.subject}": fact for fact in many.facts()}
    told = {
        key: sorted({(chance.randrange(3), int(chance.paretovariate(0.7)) % 200) for _ in range(chance.randrange(6))})
        for key in facts
    }
    attributed = [AttributedFact(fact.id, fact.relation_id, 1) for fact in facts.values()]
    counts = [CoarseCount(facts[key].id, facts[key].relation_id, *one, 1, 1.0) for key in told for one in told[key]]
    _, expected = refine(0, attributed, counts, Thresholds(min_prompts=1))
    keys = list(told)
    for start in range(0, 150, 60):
        part = {key: told[key] for key in keys[start : start + 60]}
        import_neurons(many, making.write_json(tmp_path / "n.json", part), "bert", revision="main", format="eleuther")
    found = {tuple(row[1:4]): row[6] for row in many.table_rows("knowledge_neurons")[1]}
    assert found == {(show_id(one.fact_id), one.layer, one.index): one.role for one in expected}
    assert set(found.values()) == {"fact", "relation", "generic"}


def test_neurons_are_exported_under_every_key_and_read_back(tmp_path: Path, world: Catalog) -> None:
    import_neurons(world, making.eleuther(tmp_path), "bert", revision="main")
    output = tmp_path / "out.json"
    assert export_neurons(world, output, "bert") == 3
    assert json.loads(output.read_text()) == {"u-1": [[0, 5], [10, 188]], "u-2": [], "u-3": [[0, 5], [10, 188]]}
    with pytest.raises(FactsError, match="The output file exists"):
        export_neurons(world, output, None)
    assert export_neurons(world, output, None, dataset="kn-paper", overwrite=True) == 3
    assert list(json.loads(output.read_text())) == ["P1#0", "P1#1", "P1#2"]
    with pytest.raises(
        CatalogError, match=r'No refined fact has a key in the data set "pararell"\. Did you mean pararel\?'
    ):
        export_neurons(world, output, None, dataset="pararell", overwrite=True)


def test_a_key_of_several_facts_cannot_name_neurons(tmp_path: Path, world: Catalog) -> None:
    fact = next(fact for fact in world.facts() if fact.subject == "Dale")
    world.import_facts([FactSource(fact.id, "pararel", "u-1")])
    import_neurons(world, making.eleuther(tmp_path), "bert", revision="main", fault=Skipped())
    with pytest.raises(KneditError, match='key "u-1" of the data set "pararel" is of several facts'):
        export_neurons(world, tmp_path / "out.json", "bert")
