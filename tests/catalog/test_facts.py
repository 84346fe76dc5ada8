from collections.abc import Iterator

import pytest

from knedit.catalog.answers import Count, ImportCount, RelationSummary
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Fact, Prompt, Relation, fingerprint, show_id
from tests.catalog.making import (
    CAPITAL,
    CURRENCY,
    FACTS,
    PARIS,
    PARIS_GENERATE,
    PARIS_IS,
    PARIS_PARA,
    PARIS_SEAT,
    TOKYO,
    TOKYO_IS,
    YEN,
    YEN_IS,
    fill_facts,
)


def test_an_import_counts_what_came_and_what_was_new(catalog: Catalog) -> None:
    assert catalog.import_facts(iter(FACTS)) == ImportCount(Count(2, 2), Count(3, 3), Count(6, 6))


def test_importing_twice_changes_nothing(catalog: Catalog) -> None:
    fill_facts(catalog)
    before = (catalog.relations(), catalog.facts(), catalog.prompts([PARIS.id, TOKYO.id, YEN.id]))
    assert catalog.import_facts(FACTS) == ImportCount(Count(2, 0), Count(3, 0), Count(6, 0))
    assert (catalog.relations(), catalog.facts(), catalog.prompts([PARIS.id, TOKYO.id, YEN.id])) == before


def test_a_record_that_comes_twice_in_one_import_is_added_once(catalog: Catalog) -> None:
    assert catalog.import_facts([CAPITAL, CAPITAL, PARIS, PARIS]).facts == Count(2, 1)


def test_an_import_of_nothing_counts_nothing(catalog: Catalog) -> None:
    assert catalog.import_facts([]) == ImportCount(Count(), Count(), Count())


def test_an_error_among_the_records_takes_the_whole_import_back(catalog: Catalog) -> None:
    def breaking() -> Iterator[Relation | Fact | Prompt]:
        yield from FACTS
        for number in range(3000):
            yield Fact.make(CAPITAL.id, f"Land {number}", "Town")
        raise ValueError("the file ends here")

    with pytest.raises(ValueError, match="ends here"):
        catalog.import_facts(breaking())
    assert (catalog.relations(), catalog.facts()) == ([], [])


def test_an_import_of_many_batches_keeps_all(catalog: Catalog) -> None:
    made = [Fact.make(CAPITAL.id, f"Land {number:05}", "Town") for number in range(4321)]
    assert catalog.import_facts([CAPITAL, *made]).facts == Count(4321, 4321)
    assert catalog.facts() == made


def test_a_fact_without_its_relation_is_refused(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match=r"(?i)refuses the records: .*foreign key"):
        catalog.import_facts([PARIS])
    assert catalog.facts() == []


def test_a_relation_known_by_its_key_alone_gets_a_label_and_keeps_it(catalog: Catalog) -> None:
    catalog.import_facts([Relation.make("capital")])
    catalog.import_facts([CAPITAL])
    catalog.import_facts([Relation.make("capital", "another label")])
    assert catalog.relations() == [CAPITAL]


@pytest.mark.parametrize(
    "record",
    [
        Fact.make(CAPITAL.id, "Fra\0nce", "Paris"),
        Fact(1, CAPITAL.id, "half \ud800", "Paris"),
        Fact(2**63, CAPITAL.id, "France", "Paris"),
        Fact(1, CAPITAL.id, "x" * 501, "Paris"),
        Fact(1, CAPITAL.id, "France", "Paris", "doubtful"),
        Prompt(1, PARIS.id, "joke", "{object}", "Paris"),
    ],
    ids=["NUL", "half a character", "too great an id", "too long", "unknown status", "unknown role"],
)
def test_what_one_database_could_not_keep_is_refused_by_both(catalog: Catalog, record: Fact | Prompt) -> None:
    with pytest.raises(CatalogError):
        catalog.import_facts([CAPITAL, PARIS, record])
    assert catalog.facts() == []


def test_the_longest_subject_can_be_kept_in_the_widest_letters(catalog: Catalog) -> None:
    letters = "".join(chr(0x1F300 + (7 * number * number) % 700) for number in range(500))
    fact = Fact.make(CAPITAL.id, letters, "Paris")
    catalog.import_facts([CAPITAL, fact])
    assert catalog.facts() == [fact]


def test_facts_come_by_relation_then_subject_then_object_in_one_order_everywhere(catalog: Catalog) -> None:
    subjects = ["Zaire", "apple", "Élan", "Apple", "Zaire", "日本", "_x", "a b", "ab"]
    made = [Fact.make(CAPITAL.id, subject, f"o{number}") for number, subject in enumerate(subjects)]
    catalog.import_facts([CURRENCY, CAPITAL, YEN, *made])
    assert catalog.facts() == [*sorted(made, key=lambda fact: (fact.subject, fact.object)), YEN]


def test_facts_can_be_had_by_relation_and_status(catalog: Catalog) -> None:
    fill_facts(catalog)
    assert catalog.facts() == [PARIS, TOKYO, YEN]
    assert catalog.facts(relation="capital") == [PARIS, TOKYO]
    assert catalog.facts(statuses={"protected", "proposed"}) == [TOKYO, YEN]
    assert catalog.facts(relation="capital", statuses=["proposed"]) == []
    assert catalog.facts(statuses=[]) == []


def test_facts_of_an_unknown_relation_name_near_ones(catalog: Catalog) -> None:
    fill_facts(catalog)
    with pytest.raises(CatalogError) as caught:
        catalog.facts(relation="capitol")
    assert str(caught.value) == 'There is no relation "capitol" in the catalog. Did you mean capital?'


def test_an_empty_catalog_says_how_to_import(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match="Run: knedit facts import FILE"):
        catalog.find_relation("capital")


def test_relations_come_by_key(catalog: Catalog) -> None:
    catalog.import_facts([CURRENCY, CAPITAL])
    assert catalog.relations() == [CAPITAL, CURRENCY]
    assert catalog.find_relation("currency") == CURRENCY


def test_prompts_come_in_the_order_of_facts_then_roles_then_texts(catalog: Catalog) -> None:
    fill_facts(catalog)
    of_paris = [PARIS_SEAT, PARIS_IS, PARIS_PARA, PARIS_GENERATE]
    assert catalog.prompts([YEN.id, PARIS.id, TOKYO.id]) == [YEN_IS, *of_paris, TOKYO_IS]
    assert catalog.prompts([PARIS.id], roles=["generate", "paraphrase"]) == [PARIS_PARA, PARIS_GENERATE]
    assert catalog.prompts([PARIS.id], roles=[]) == []
    assert catalog.prompts([]) == []


def test_prompts_of_tens_of_thousands_of_facts_can_be_asked_for(catalog: Catalog) -> None:
    fill_facts(catalog)
    assert catalog.prompts({*range(70_000), PARIS.id}, roles=["paraphrase"]) == [PARIS_PARA]


def test_the_summary_counts_facts_and_prompts_of_each_relation(catalog: Catalog) -> None:
    fill_facts(catalog)
    empty = Relation.make("born in")
    catalog.import_facts([empty])
    assert catalog.fact_summary() == [
        RelationSummary(empty, 0, {}, {}),
        RelationSummary(CAPITAL, 2, {"approved": 1, "protected": 1}, {"attribute": 3, "paraphrase": 1, "generate": 1}),
        RelationSummary(CURRENCY, 1, {"proposed": 1}, {"attribute": 1}),
    ]


@pytest.mark.parametrize(
    ("reference", "fact"),
    [
        ("capital/France", PARIS),
        ("capital/France=Paris", PARIS),
        ("currency/Japan", YEN),
        (show_id(TOKYO.id), TOKYO),
        (show_id(TOKYO.id)[:6], TOKYO),
        (show_id(TOKYO.id)[:6].upper(), TOKYO),
    ],
)
def test_a_fact_is_found_by_its_words_or_the_beginning_of_its_id(catalog: Catalog, reference: str, fact: Fact) -> None:
    fill_facts(catalog)
    assert catalog.find_fact(reference) == fact


def test_subjects_may_hold_slashes_and_equal_signs(catalog: Catalog) -> None:
    slash, equal = Fact.make(CAPITAL.id, "AC/DC", "Sydney"), Fact.make(CAPITAL.id, "E=mc2", "a=b")
    whole = Fact.make(CAPITAL.id, "E=mc2=a", "b")
    catalog.import_facts([CAPITAL, slash, equal])
    assert catalog.find_fact("capital/AC/DC") == slash
    assert catalog.find_fact("capital/AC/DC=Sydney") == slash
    assert catalog.find_fact("capital/E=mc2") == equal
    assert catalog.find_fact("capital/E=mc2=a=b") == equal
    catalog.import_facts([whole])
    with pytest.raises(CatalogError, match='2 facts answer to "capital/E=mc2=a=b"'):
        catalog.find_fact("capital/E=mc2=a=b")


def test_a_subject_with_two_objects_must_be_named_with_its_object(catalog: Catalog) -> None:
    fill_facts(catalog)
    second = Fact.make(CAPITAL.id, "France", "Vichy")
    catalog.import_facts([second])
    with pytest.raises(CatalogError) as caught:
        catalog.find_fact("capital/France")
    assert str(caught.value) == (
        '2 facts answer to "capital/France". '
        f"Name one of capital/France=Paris ({show_id(PARIS.id)}), capital/France=Vichy ({show_id(second.id)})."
    )
    assert catalog.find_fact("capital/France=Vichy") == second


def test_an_ambiguous_beginning_of_an_id_lists_the_candidates(catalog: Catalog) -> None:
    near = [Fact(0x7ABC_0000_0000_0000 + number, CAPITAL.id, f"Land {number}", "Town") for number in (1, 2)]
    catalog.import_facts([CAPITAL, *near])
    with pytest.raises(CatalogError, match=r"Land 1=Town \(7abc000000000001\), capital/Land 2=Town \(7abc000000000002"):
        catalog.find_fact("7abc")
    assert catalog.find_fact("7abc000000000002") == near[1]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("capital/Frnace", 'There is no fact "Frnace" in the relation "capital". Did you mean France?'),
        (
            "capital/France=Lyon",
            'There is no fact "France=Lyon" in the relation "capital". The catalog has France=Paris.',
        ),
        ("capitl/France", 'There is no relation "capitl" in the catalog. Did you mean capital?'),
        ("France", f"Name one of capital/France=Paris ({show_id(PARIS.id)})."),
        ("0000", 'There is no fact "0000" in the catalog. Name a fact as RELATION/SUBJECT'),
        (show_id(PARIS.id)[:3], "at least four digits"),
        ("ffffffffffffffff", "There is no fact"),
        ("", "There is no fact"),
        ("capital/", 'There is no fact ""'),
    ],
)
def test_an_unknown_fact_is_refused_with_near_ones(catalog: Catalog, reference: str, words: str) -> None:
    fill_facts(catalog)
    with pytest.raises(CatalogError) as caught:
        catalog.find_fact(reference)
    assert words in str(caught.value)


def test_ids_of_all_63_bits_are_kept(catalog: Catalog) -> None:
    wide = [Fact(number, CAPITAL.id, f"Land {number}", "Town") for number in (0, fingerprint("x"), 2**63 - 1)]
    catalog.import_facts([CAPITAL, *wide])
    assert {fact.id for fact in catalog.facts()} == {fact.id for fact in wide}
