import pytest
from sqlalchemy import text

from knedit.catalog.selections import Criteria
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Fact, FactSource, show_id
from knedit.remarks import Selection
from tests.catalog.making import CAPITAL, CURRENCY, EVENING, NOON, PARIS, TOKYO, YEN, fill_facts

BERN = Fact.make(CAPITAL.id, "Switzerland", "Bern", "retired")


@pytest.fixture
def filled(catalog: Catalog) -> Catalog:
    fill_facts(catalog)
    catalog.import_facts([BERN, FactSource(TOKYO.id, "lama", "1"), FactSource(YEN.id, "pararel", "2")])
    catalog.label_facts([PARIS.id, YEN.id], "easy", by="Ada")
    catalog.label_facts([TOKYO.id], "hard", by="Ada")
    return catalog


ANSWERS: list[tuple[Criteria, list[Fact]]] = [
    ({}, [PARIS, TOKYO, BERN, YEN]),
    ({"relations": []}, [PARIS, TOKYO, BERN, YEN]),
    ({"relations": ["capital"]}, [PARIS, TOKYO, BERN]),
    ({"relations": ["capital", "currency"], "statuses": ["proposed", "retired"]}, [BERN, YEN]),
    ({"labels": ["easy"]}, [PARIS, YEN]),
    ({"labels": ["easy", "hard"], "relations": ["capital"]}, [PARIS, TOKYO]),
    ({"datasets": ["lama", "pararel"]}, [TOKYO, YEN]),
    ({"datasets": ["lama"], "labels": ["easy"]}, []),
    ({"facts": [show_id(YEN.id), show_id(4)]}, [YEN]),
    ({"facts": [show_id(YEN.id)], "statuses": ["protected"]}, [TOKYO, YEN]),
    ({"relations": ["'; DROP TABLE facts; --"]}, []),
]


def test_criteria_hold_together_each_by_any_of_its_values(filled: Catalog) -> None:
    found = [(criteria, filled.facts_of(criteria)) for criteria, _ in ANSWERS]
    assert found == ANSWERS
    assert [filled.fact_ids_of(criteria) for criteria, _ in ANSWERS] == [
        [one.id for one in facts] for _, facts in found
    ]


def test_a_live_selection_is_asked_anew_and_a_frozen_one_is_not(filled: Catalog) -> None:
    criteria = {"labels": ["easy"], "facts": []}
    live = filled.save_selection("live", criteria, by="Ada", at=NOON)
    frozen = filled.save_selection("frozen", criteria, frozen=True, by="Ada", at=NOON)
    assert live == Selection("live", {"labels": ["easy"]}, False, "Ada", NOON)
    assert filled.selections() == [frozen, live]
    assert filled.selected("live") == filled.selected("frozen") == [PARIS, YEN]
    filled.label_facts([BERN.id], "easy", by="Bo")
    filled.unlabel_facts([YEN.id], "easy")
    assert (filled.selected("live"), filled.selected("frozen")) == ([PARIS, BERN], [PARIS, YEN])
    assert (filled.count_selected("live"), filled.count_selected("frozen")) == (2, 2)


def test_a_name_is_taken_until_it_is_replaced_or_removed(filled: Catalog) -> None:
    first = filled.save_selection("mine", {"relations": ["capital"]}, frozen=True, by="Ada")
    with pytest.raises(CatalogError, match=r'There is a selection "mine" already.*--replace'):
        filled.save_selection("mine", {}, by="Bo")
    assert filled.selections() == [first]
    second = filled.save_selection("mine", {"relations": ["currency"]}, frozen=True, replace=True, by="Bo", at=EVENING)
    assert (filled.selections(), filled.selected("mine")) == ([second], [YEN])
    filled.remove_selection("mine")
    assert filled.selections() == []
    with pytest.raises(CatalogError, match=r'There is no selection "mine" in the catalog. Run: knedit selections save'):
        filled.selected("mine")


def test_a_name_that_is_nearly_right_is_corrected(filled: Catalog) -> None:
    filled.save_selection("capitals", {}, by="Ada")
    for verb in (filled.selected, filled.count_selected, filled.remove_selection, filled.find_selection):
        with pytest.raises(CatalogError, match=r'no selection "captials".*Did you mean capitals\?'):
            verb("captials")


WRONG: list[tuple[str, Criteria, str]] = [
    ("", {}, "The selection's name is empty"),
    ("x" * 101, {}, "has 101 characters"),
    ("a\0", {}, "cannot keep the selection's name"),
    ("a", {"relations": ["captial"]}, r'no relation "captial" in the catalog. Did you mean capital\?'),
    ("a", {"statuses": ["protect"]}, r'no status "protect". Did you mean protected\?'),
    ("a", {"label": ["easy"]}, r'There is no criterion "label". Did you mean labels\?'),
    ("a", {"search": ["Paris"]}, 'There is no criterion "search"'),
    ("a", {"labels": "easy"}, 'The criterion "labels" is not a list of words'),
    ("a", {"labels": [""]}, 'The criterion "labels" is not a list of words'),
    ("a", {"labels": ["a\0"]}, "cannot keep the criterion labels"),
    ("a", {"facts": ["capital/France"]}, '"capital/France" is not the id of a fact'),
    ("a", {"facts": ["ffffffffffffffff"]}, "is not the id of a fact"),
]


def test_what_cannot_be_understood_is_not_saved(filled: Catalog) -> None:
    for name, criteria, words in WRONG:
        for frozen in (False, True):
            with pytest.raises(CatalogError, match=words):
                filled.save_selection(name, criteria, frozen=frozen, by="Ada")
    assert filled.selections() == []


def test_a_frozen_selection_of_nothing_is_refused_and_a_live_one_waits(filled: Catalog) -> None:
    with pytest.raises(CatalogError, match='Nothing would be in the selection "none"'):
        filled.save_selection("none", {"labels": ["unheard of"]}, frozen=True, by="Ada")
    filled.save_selection("none", {"labels": ["unheard of"]}, by="Ada")
    assert filled.selected("none") == []


def test_a_refused_replacement_leaves_the_old_selection(filled: Catalog) -> None:
    old = filled.save_selection("mine", {"labels": ["easy"]}, frozen=True, by="Ada")
    with pytest.raises(CatalogError, match="Nothing would be in"):
        filled.save_selection("mine", {"labels": ["unheard of"]}, frozen=True, replace=True, by="Ada")
    assert (filled.selections(), filled.selected("mine")) == ([old], [PARIS, YEN])


def test_criteria_of_a_newer_knedit_are_refused_when_they_are_asked(filled: Catalog) -> None:
    filled.save_selection("later", {"labels": ["easy"]}, by="Ada")
    with filled._engine.begin() as connection:
        connection.execute(text("""UPDATE selections SET criteria = '{"colours": ["red"]}'"""))
    with pytest.raises(CatalogError, match='There is no criterion "colours"'):
        filled.selected("later")


def test_many_thousands_of_facts_may_be_named(catalog: Catalog) -> None:
    made = [Fact.make(CURRENCY.id, f"Land {number:05}", "coin") for number in range(20_000)]
    catalog.import_facts([CURRENCY, *made])
    chosen = [show_id(fact.id) for fact in made[::-1][:15_000]]
    catalog.save_selection("many", {"facts": chosen}, by="Ada")
    assert catalog.selected("many") == made[5_000:]
