"""The page holds all it needs, escapes all it is given, and can load nothing."""

import re
from html.parser import HTMLParser

from knedit.analysis.figures.draw import draw
from knedit.analysis.findings import Bars, Findings, MarkedText, Series, Table
from knedit.analysis.page import Section, build_page, cell, scoped
from knedit.analysis.published import PUBLISHED, beside
from knedit.analysis.tables import as_csv

NASTY = '<script>alert("x")</script> & co'
TABLE = Table("table", NASTY, ("name", "share", NASTY), ((NASTY, 0.25, None), ("b", -0.5, 12345.678)), ("share",))
BARS = Bars("bars", NASTY, NASTY, groups=("a", "b"), series=(Series("s", (0.1, 0.2)), Series("t", (0.3, 0.4))))
FOUND = Findings(
    "it", NASTY, (NASTY,), (TABLE,), (BARS, BARS), (MarkedText(NASTY, ((NASTY, 0.5), ("b", -1.0))),), (NASTY,)
)


class _Reader(HTMLParser):
    """Collects tags, ids and everything that could be fetched; sees that tags close in order."""

    VOID = ("meta", "br", "img", "link")

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        told = dict(attrs)
        self.ids += [told["id"]] if told.get("id") else []  # type: ignore[list-item]
        self.links += [str(told[name]) for name in ("src", "href", "xlink:href") if told.get(name)]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page() -> str:
    sections = [Section(FOUND, {NASTY: NASTY}), Section(FOUND, {})]
    table = beside({"own suppress neurons": -0.25, "erase own": 0.5}, NASTY)
    return build_page(NASTY, {"a": NASTY}, sections, lambda picture: draw(picture).svg, beside=table)


def test_the_page_is_whole_escapes_what_it_is_given_and_fetches_nothing() -> None:
    text = page()
    reader = _Reader()
    reader.feed(text)
    assert reader.open == []
    assert not {"script", "link", "img", "iframe", "object"} & reader.tags
    assert all(link.startswith("#") for link in reader.links)
    assert "<script" not in text
    assert "default-src &#x27;none&#x27;" in text
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"|(rdf:resource|rdf:about)="[^"]*"', "", text)
    assert not re.search(r"url\((?!#)", outside)


def test_no_two_pictures_share_an_id() -> None:
    reader = _Reader()
    reader.feed(page())
    own = [one for one in reader.ids if one not in ("it", "published")]
    assert len(own) == len(set(own))
    assert (
        scoped('<a id="x"/><use href="#x" fill="url(#x)"/>', "p-") == '<a id="p-x"/><use href="#p-x" fill="url(#p-x)"/>'
    )


def test_values_look_as_people_read_them_and_as_programs_do() -> None:
    assert [cell(value) for value in (None, "a", 3.0, 12345.678, -0.00012)] == ["–", "a", "3", "12,345.7", "−0.00012"]
    assert cell(-0.25, percent_of=True) == "−25.0 %"
    assert as_csv(TABLE).splitlines()[1:] == ['"<script>alert(""x"")</script> & co",0.25,', "b,-0.5,12345.678"]


def test_published_numbers_stand_beside_ours_in_their_own_way() -> None:
    table = beside({"own suppress neurons": -0.25, "erase own": 0.5, "unheard of": 1.0}, "ours")
    assert table is not None
    assert [row[1:] for row in table.rows] == [("−29.0 %", "−25.0 %"), ("+36.7 % to +141.2 % (4 relations)", "+50.0 %")]
    assert beside({}, "ours") is None
    assert all(one.value is not None or one.words for one in PUBLISHED.values())
