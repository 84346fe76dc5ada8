import pytest

from knedit.catalog.questions.answers import FoundFact, FoundPrompt
from knedit.catalog.questions.words import LONGEST, MOST, Term, read_words
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Fact, Prompt, Relation
from tests.catalog.making import CAPITAL, PARIS, PARIS_GENERATE, PARIS_IS, PARIS_PARA, TOKYO, YEN, fill_facts

PLAYED = Relation.make("played")
YORK = Fact.make(PLAYED.id, "New York", "O'Hara")
ODD = Fact.make(PLAYED.id, 'a "quoted" name', "back\\slash: AND (x*)")


def fill_more(catalog: Catalog) -> None:
    fill_facts(catalog)
    catalog.import_facts([PLAYED, YORK, ODD, Prompt.make(YORK.id, "attribute", "New in York: {object}", "O'Hara")])


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        ("Japan", {TOKYO, YEN}),
        ("japan TOKYO", {TOKYO}),
        ("tokyo japan", {TOKYO}),
        ("Jap", set()),
        ("Jap*", {TOKYO, YEN}),
        ("ja* y*", {YEN}),
        ("new york", {YORK}),
        ('"new york"', {YORK}),
        ('"york new"', set()),
        ("york new", {YORK}),
        ("o'hara", {YORK}),
        ("o'ha*", {YORK}),
        ("quoted AND name", {ODD}),
        ('"back slash', {ODD}),
        ("back\\slash", {ODD}),
        ("Japan OR Paris", set()),
        ("Japan NOT yen", set()),
    ],
)
def test_all_words_must_match(catalog: Catalog, words: str, facts: set[Fact]) -> None:
    fill_more(catalog)
    assert {one.fact for one in catalog.search_facts(words)} == facts


def test_found_facts_have_their_relation_and_come_in_number_and_relation_asked_for(catalog: Catalog) -> None:
    fill_more(catalog)
    assert catalog.search_facts("japan", relation_id=CAPITAL.id) == [FoundFact("capital", TOKYO)]
    assert len(catalog.search_facts("japan", limit=1)) == 1
    assert catalog.search_facts("japan", relation_id=3) == []


def test_prompts_are_searched_without_their_blank(catalog: Catalog) -> None:
    fill_more(catalog)
    assert catalog.search_prompts('"la capitale"') == [FoundPrompt("capital", PARIS, PARIS_PARA)]
    assert {one.prompt for one in catalog.search_prompts("France capital")} == {PARIS_IS, PARIS_GENERATE}
    assert catalog.search_prompts("object") == []
    assert catalog.search_prompts('"new york"') == []
    assert {one.relation for one in catalog.search_prompts("in", limit=50)} == {"capital", "currency", "played"}
    assert [one.fact for one in catalog.search_prompts("in", relation_id=PLAYED.id)] == [YORK]


def test_a_better_match_comes_first(catalog: Catalog) -> None:
    long = Fact.make(CAPITAL.id, "Lima and many other words about nothing at all", "x")
    short = Fact.make(CAPITAL.id, "Lima", "Lima")
    catalog.import_facts([CAPITAL, long, short])
    assert [one.fact for one in catalog.search_facts("lima")] == [short, long]


WILD = [
    *('"', '""', "'", "''", "*", "**", "a**", '"*"', "-a", "+a", "a-b", "a:b", "subject:a", "{a b}", "(", ")", "a (b"),
    *("^a", "a NEAR b", "NEAR(a b, 5)", "AND", "OR", "NOT", "a AND", "!a", "a & b", "a | b", "a <-> b", "a:*", "a:AB"),
    *(
        "\\",
        "a\\",
        "%",
        "_",
        "a;b",
        "--a",
        "/* a",
        "$1",
        "%s",
        "%(a)s",
        ":a",
        "?",
        "a\0b",
        "\ud800a",
        "é",
        "日本",
        "🎉 a",
    ),
    *(
        "a" * LONGEST,
        "a " * MOST,
        '"a" ' * MOST,
        f'"{"a " * 240}"',
        "<b>",
        "&amp; a",
        "http://a.b/c?d",
        "a@b.c",
        "1.5e3",
    ),
    *("\u202ea", "ﬁ", "İ", '"a b"*', '"a*"', "a*b*", "'a':*", "'a*", "\\'a*", "a\\*", "é" * LONGEST),
]


def test_nothing_that_is_typed_is_an_error_of_syntax(catalog: Catalog) -> None:
    fill_more(catalog)
    for words in WILD:
        if any(letter.isalnum() for letter in words):
            assert len(catalog.search_facts(words)) <= 5, words
            assert len(catalog.search_prompts(words)) <= 8, words
        else:
            with pytest.raises(CatalogError, match="no word to search for"):
                catalog.search_facts(words)


@pytest.mark.parametrize("words", ["", "  ", '"', "🎉", "\0", "* *", '"" --', "\ud800"])
def test_a_search_for_nothing_is_refused(words: str) -> None:
    with pytest.raises(CatalogError) as caught:
        read_words(words)
    assert str(caught.value) == ('There is no word to search for. Give words, beginnings (Fran*) or a "quoted phrase".')


def test_a_search_for_far_too_much_is_refused() -> None:
    with pytest.raises(CatalogError, match="A search of 501 characters is too long"):
        read_words("x" * 501)
    with pytest.raises(CatalogError, match=r"A search for 51 words is too long\. Give at most 50\."):
        read_words("x " * 51)


def test_words_are_read_as_they_are_meant() -> None:
    assert read_words('Paris fr* "New York" AND x"y z"w "open end') == [
        *(Term("Paris"), Term("fr", beginning=True), Term("New York"), Term("AND")),
        *(Term("x"), Term("y z"), Term("w"), Term("open end")),
    ]
