"""Files of facts go into a catalog once, whole, and come out of it as they went in."""

from dataclasses import fields
from pathlib import Path

import pytest

from knedit.catalog.answers import Count, ImportCount
from knedit.catalog.formats.registry import FORMATS
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError, FactsError
from knedit.flows.facts import Skipped, export_facts, import_file
from knedit.records import Fact, FactSource, Prompt, Relation, RequestedRewrite
from tests.catalog.formats import making

Contents = tuple[list[Relation], list[Fact], list[Prompt], list[FactSource], list[RequestedRewrite]]


def contents(catalog: Catalog) -> Contents:
    facts = catalog.facts()
    ids = [fact.id for fact in facts]
    return catalog.relations(), facts, catalog.prompts(ids), catalog.sources(ids), catalog.requested_rewrites(ids)


@pytest.mark.parametrize("make", [make for makes in making.FACTS.values() for make in makes])
def test_a_file_of_any_format_is_imported_once(tmp_path: Path, catalog: Catalog, make: making.Make) -> None:
    path = make(tmp_path)
    first = import_file(catalog, path)
    held = contents(catalog)
    assert [getattr(first, noun.name).added for noun in fields(first)] == [len(kind) for kind in held]
    again = import_file(catalog, path)
    assert again == ImportCount(*(Count(getattr(first, noun.name).seen, 0) for noun in fields(first)))
    assert contents(catalog) == held


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A file of three facts, the second of which is broken."""
    path = tmp_path / "facts.csv"
    path.write_text("relation,subject,object\ncapital,Peru,Lima\ncapital,France\ncapital,Norway,Oslo\n")
    return path


def test_a_broken_record_stops_the_import_and_nothing_is_taken(broken: Path, catalog: Catalog) -> None:
    with pytest.raises(FactsError, match="line 3"):
        import_file(catalog, broken)
    assert contents(catalog) == ([], [], [], [], [])


def test_a_broken_record_is_left_out_where_that_is_asked_for(broken: Path, catalog: Catalog) -> None:
    skipped = Skipped()
    assert import_file(catalog, broken, fault=skipped).facts == Count(2, 2)
    assert [(fault.what, fault.where) for fault in skipped.first] == [
        ("The row has 2 cells, the header 3", f"{broken}, line 3")
    ]


def test_of_many_broken_records_all_are_counted_and_the_first_kept() -> None:
    skipped = Skipped()
    for number in range(1000):
        skipped(FactsError("Broken", f"line {number}"))
    assert (skipped.count, len(skipped.first), skipped.first[-1].where) == (1000, 20, "line 19")


def test_words_that_mean_something_elsewhere_are_kept_as_they_are(tmp_path: Path, catalog: Catalog) -> None:
    words = ["'; DROP TABLE facts; --", "<script>alert(1)</script>", "=1+1", "%s %(x)s \\ {0}", "\u202eabc", "é\u0301"]
    lines = [{"relation": "w", "subject": word, "object": word, "prompts": ["{subject}: {object}"]} for word in words]
    import_file(catalog, making.write_lines(tmp_path / "words.jsonl", lines))
    assert {(fact.subject, fact.object) for fact in catalog.facts()} == {(word, word) for word in words}
    assert {prompt.text for prompt in contents(catalog)[2]} == {f"{word}: {{object}}" for word in words}


@pytest.mark.parametrize("make", [make for makes in making.FACTS.values() for make in makes])
def test_facts_exported_as_jsonl_make_an_equal_catalog(tmp_path: Path, catalog: Catalog, make: making.Make) -> None:
    import_file(catalog, make(tmp_path))
    catalog.import_facts([Relation.make("empty", "of no facts"), Relation.make("z")])
    facts = [fact for fact in catalog.facts() if fact.status == "proposed"]
    catalog.set_fact_status([facts[0].id], "retired", by="ada")
    output, again = tmp_path / "exported.jsonl", tmp_path / "again.jsonl"
    assert export_facts(catalog, output, retired=True) == len(catalog.facts())
    with Catalog(f"sqlite:///{tmp_path / 'other.db'}") as other:
        import_file(other, output)
        assert contents(other) == contents(catalog)
        assert export_facts(other, again, retired=True) == len(catalog.facts())
    assert again.read_bytes() == output.read_bytes()


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_facts_exported_as_a_table_read_back(tmp_path: Path, catalog: Catalog, ending: str) -> None:
    import_file(catalog, making.delimited(tmp_path))
    output = tmp_path / f"exported.{ending}"
    assert export_facts(catalog, output) == 4
    with Catalog(f"sqlite:///{tmp_path / 'other.db'}") as other:
        import_file(other, output)
        assert contents(other) == contents(catalog)


def test_one_relation_is_exported_and_no_file_replaced_unasked(tmp_path: Path, catalog: Catalog) -> None:
    import_file(catalog, making.knedit_jsonl(tmp_path))
    import_file(catalog, making.counterfact(tmp_path))
    output = tmp_path / "exported.jsonl"
    assert export_facts(catalog, output, relation="P1") == 1
    with pytest.raises(FactsError, match=r"The output file exists .* say --overwrite"):
        export_facts(catalog, output)
    assert export_facts(catalog, output, overwrite=True) == 4
    assert len([one for one in FORMATS["knedit-jsonl"].read(output) if isinstance(one, Fact)]) == 4
    with pytest.raises(CatalogError, match='no relation "P2"'):
        export_facts(catalog, tmp_path / "other.jsonl", relation="P2")
