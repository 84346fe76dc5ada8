"""What each reader yields of a small file of its format, record by record."""

import logging
from pathlib import Path
from typing import Any

import pytest

from knedit.catalog.formats.registry import FORMATS, NEURON_FORMATS
from knedit.errors import FactsError
from knedit.records import Fact, FactSource, Prompt, PublishedNeurons, PublishedScores, Relation, RequestedRewrite
from tests.catalog.formats import making

P1 = Relation.make("P1")
ADA = Fact.make(P1.id, "Hill", "Ada")
BO = Fact.make(P1.id, "Dale", "Bo")


def attribute(fact: Fact, text: str, answer: str | None = None) -> Prompt:
    return Prompt.make(fact.id, "attribute", text, answer or fact.object)


def pararel(fact: Fact) -> list[Prompt]:
    return [
        attribute(fact, f"{fact.subject} is the home of {{object}} ."),
        attribute(fact, f"{{object}} lives at {fact.subject}"),
    ]


def read(name: str, path: Path) -> list[Any]:
    return list({**FORMATS, **NEURON_FORMATS}[name].read(path))


def test_pararel_tells_facts_with_their_patterns_and_uuids(tmp_path: Path) -> None:
    expected = [P1, ADA, *pararel(ADA), FactSource(ADA.id, "pararel", "u-1")]
    expected += [BO, *pararel(BO), FactSource(BO.id, "pararel", "u-2")]
    expected += [ADA, *pararel(ADA), FactSource(ADA.id, "pararel", "u-3")]
    assert read("pararel", making.pararel(tmp_path)) == expected
    assert read("pararel", tmp_path / "pararel/trex_lms_vocab/P1.jsonl") == expected


def test_a_relation_without_patterns_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "knedit"):
        records = read("pararel", making.pararel(tmp_path))
    assert Relation.make("P31") not in records
    folder = tmp_path / "pararel/pattern_data/graphs_json"
    assert caplog.messages == [f"P31 has no patterns in {folder}: its 2 facts are left out"]


def test_pararel_is_found_below_its_repositorys_folder_of_data(tmp_path: Path) -> None:
    inner = making.pararel(tmp_path)
    expected = read("pararel", inner)
    inner.rename(tmp_path / "data")
    assert read("pararel", tmp_path) == expected


def test_lama_tells_facts_with_their_relations_template(tmp_path: Path) -> None:
    housing, path = Relation.make("P1", "housing"), making.lama(tmp_path)
    moor = Fact.make(P1.id, "Moor", "Cy")
    expected = [
        housing,
        ADA,
        attribute(ADA, "Hill houses {object} ."),
        FactSource(ADA.id, "lama-trex", "u-1"),
        moor,
        attribute(moor, "Moor houses {object} ."),
        FactSource(moor.id, "lama-trex", "u-4"),
    ]
    assert read("lama", path) == expected
    assert read("lama", path / "TREx/P1.jsonl") == expected


def test_lama_without_its_relations_is_refused(tmp_path: Path) -> None:
    path = making.lama(tmp_path)
    (path / "relations.jsonl").unlink()
    with pytest.raises(FactsError, match=r"There is no relations.jsonl"):
        read("lama", path)


def test_the_papers_list_tells_labels_and_places(tmp_path: Path) -> None:
    path = making.kn_paper(tmp_path)
    expected: list[Any] = [Relation.make("P1", "housing")]
    for number, fact in enumerate((ADA, BO, ADA)):
        expected += [fact, *pararel(fact), FactSource(fact.id, "kn-paper", f"P1#{number}")]
    assert read("kn-paper", path) == expected
    assert read("kn-paper", path / "query_pairs.json") == expected


def test_counterfact_tells_the_true_fact_its_prompts_by_role_and_the_wish(tmp_path: Path) -> None:
    expected = [
        P1,
        ADA,
        attribute(ADA, "Hill houses {object}"),
        Prompt.make(ADA.id, "paraphrase", "A long day. Hill is home to {object}", "Ada"),
        Prompt.make(ADA.id, "neighbour", "Tor houses {object}", "Ada"),
        Prompt.make(ADA.id, "neighbour", "Fell houses {object}", "Ada"),
        Prompt.make(ADA.id, "generate", "Hill is known for", None),
        FactSource(ADA.id, "counterfact", "5"),
        RequestedRewrite(ADA.id, "counterfact", "5", "Bo"),
    ]
    assert read("counterfact", making.counterfact(tmp_path)) == expected
    assert read("counterfact", making.counterfact_list(tmp_path)) == expected


def test_zsre_tells_a_fact_for_each_answer_and_what_stands_around_the_first(tmp_path: Path) -> None:
    relation, question = Relation.make("Who lives at …?"), "Who lives at Hill?"
    ada, di, bo = (Fact.make(relation.id, *pair) for pair in (("Hill", "Ada"), ("Hill", "Di"), ("Dale", "Bo")))
    expected: list[Any] = [relation]
    for fact in (ada, di):
        expected += [
            fact,
            attribute(fact, f"{question} {{object}}"),
            Prompt.make(fact.id, "paraphrase", "Who is at home at Hill? {object}", fact.object),
            FactSource(fact.id, "zsre", question),
        ]
    expected += [
        Prompt.make(ada.id, "neighbour", "nq question: who lives at Tor {object}", "Ed"),
        Prompt.make(ada.id, "implied", "Tea or milk? {object}", "Tea"),
        RequestedRewrite(ada.id, "zsre", question, "Bo"),
        bo,
        attribute(bo, "Who lives at Dale? {object}"),
        FactSource(bo.id, "zsre", "Who lives at Dale?"),
    ]
    assert read("zsre", making.zsre(tmp_path)) == expected


def test_known_facts_tell_the_prompt_that_was_completed(tmp_path: Path) -> None:
    prompt = attribute(ADA, "Hill houses the old {object}")
    assert read("known-facts", making.known_facts(tmp_path)) == [
        P1,
        ADA,
        prompt,
        FactSource(ADA.id, "known-facts", "3"),
    ]


def test_lre_tells_both_lists_of_templates_once_each(tmp_path: Path) -> None:
    relation = Relation.make("home dweller")
    expected: list[Any] = [relation]
    for number, (subject, object) in enumerate((("Hill", "Ada"), ("Dale", "Bo"))):
        fact = Fact.make(relation.id, subject, object)
        texts = (f"{subject} houses {{object}}", f"Home: {subject}. Dweller: {{object}}")
        expected += [fact, *(attribute(fact, text) for text in texts), FactSource(fact.id, "lre", f"home#{number}")]
    path = making.lre(tmp_path)
    assert read("lre", path) == expected
    assert read("lre", path / "factual/home.json") == expected


CAPITAL = Relation.make("capital")
PARIS = Fact.make(CAPITAL.id, "France", "Paris")
BONN = Fact.make(CAPITAL.id, 'the "Land", twice', "Bonn", "protected")
TABLE = [
    CAPITAL,
    PARIS,
    attribute(PARIS, "The capital of France is {object}."),
    FactSource(PARIS.id, "atlas", "7"),
    Prompt.make(PARIS.id, "generate", "In France", None),
    BONN,
    Prompt.make(BONN.id, "paraphrase", 'the "Land", twice\n{object}', "Bonn", language="de"),
    Fact.make(CAPITAL.id, "Perú", "=1+1"),
]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("csv", making.delimited),
        ("csv", making.tsv),
        ("parquet", making.parquet),
        ("datasets", making.saved_dataset),
    ],
)
def test_a_table_tells_a_fact_or_a_prompt_a_row(tmp_path: Path, name: str, make: making.Make) -> None:
    assert read(name, make(tmp_path)) == TABLE


def test_a_saved_data_set_of_one_split_is_read_too(tmp_path: Path) -> None:
    assert read("datasets", making.saved_dataset(tmp_path) / "train") == TABLE


def test_knedits_own_format_tells_sources_and_the_status_of_prompts(tmp_path: Path) -> None:
    capital = Relation.make("capital", "capital of a country")
    tokyo, lima = Fact.make(CAPITAL.id, "Japan", "Tokyo", "protected"), Fact.make(CAPITAL.id, "Perú", "Lima")
    expected: list[Any] = [capital]
    for fact in (PARIS, tokyo):
        expected += [fact, attribute(fact, f"The capital of {fact.subject} is {{object}}.")]
        expected.append(Prompt.make(fact.id, "generate", f"In {fact.subject}", None))
    prompt = Prompt.make(lima.id, "attribute", "Perú: {object}", "La Lima", language="es", status="approved")
    expected += [CAPITAL, lima, prompt, FactSource(lima.id, "atlas", "12")]
    assert read("knedit-jsonl", making.knedit_jsonl(tmp_path)) == expected


def test_published_neurons_are_told_by_uuid(tmp_path: Path) -> None:
    expected = [
        PublishedNeurons("pararel", "u-1", ((10, 188), (0, 5))),
        PublishedNeurons("pararel", "u-2", ()),
        PublishedNeurons("pararel", "u-3", ((0, 5), (10, 188))),
    ]
    assert read("eleuther", making.eleuther(tmp_path)) == expected
    assert read("eleuther", tmp_path) == expected


def test_the_papers_neurons_are_told_by_place_and_those_of_the_baseline_apart(tmp_path: Path) -> None:
    path = making.bags(tmp_path)
    path.with_name("base_kn_bag-P2.json").write_text("[[[1, 1]]]")
    assert read("kn-paper-neurons", tmp_path) == [
        PublishedNeurons("kn-paper", "P2#0", ((1, 1),), "base"),
        PublishedNeurons("kn-paper", "P1#0", ((10, 188), (0, 5)), "ig_gold"),
        PublishedNeurons("kn-paper", "P1#1", ((1, 2),), "ig_gold"),
        PublishedNeurons("kn-paper", "P1#2", ((0, 5), (10, 188)), "ig_gold"),
    ]


def test_the_papers_scores_are_told_by_prompt_and_method(tmp_path: Path) -> None:
    tokens = tuple(making.TOKENS)
    whole = PublishedScores("kn-paper", "P1#0", 0, "ig_gold", tokens, "Ada", ((9, 1, 0.5), (8, 2, 1.0)))
    base = PublishedScores("kn-paper", "P1#0", 0, "base", tokens, "Ada", ((3, 4, -0.25),))
    assert read("kn-paper-scores", making.scores(tmp_path)) == [whole, base]


def test_a_broken_line_of_results_keeps_the_places_of_the_others(tmp_path: Path) -> None:
    path, faults = making.scores(tmp_path), list[FactsError]()
    path.write_text("{\n\n" + path.read_text())
    found = list(NEURON_FORMATS["kn-paper-scores"].read(path, faults.append))
    assert {record.key for record in found} == {"P1#2"}
    assert [fault.where for fault in faults] == [f"{path}, line 1", f"{path}, line 2"]
    bags = making.bags(tmp_path)
    bags.write_text('[[[1, 2, 3]], [{"a": 1, "a": 2}], [[4, 5]]]')
    found = list(NEURON_FORMATS["kn-paper-neurons"].read(bags, faults.append))
    assert found == [PublishedNeurons("kn-paper", "P1#2", ((4, 5),), "ig_gold")]


@pytest.mark.parametrize(("name", "make"), making.EVERY, ids=[make.__name__ for _, make in making.EVERY])
def test_an_empty_file_and_a_missing_one_are_told(tmp_path: Path, name: str, make: making.Make) -> None:
    path, format = make(tmp_path), {**FORMATS, **NEURON_FORMATS}[name]
    for file in [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]:
        file.write_bytes(b"")
    with pytest.raises(FactsError):
        list(format.read(path))
    with pytest.raises(FactsError):
        list(format.read(tmp_path / "nowhere" / path.name))
