"""Every kind of picture can be drawn, also of odd words and missing values, and the same again is the same bytes."""

from xml.etree import ElementTree as ET

import pytest

from knedit.analysis.figures.charts import draw_bars, draw_dots
from knedit.analysis.figures.draw import KINDS, Drawn, draw
from knedit.analysis.figures.style import styled, told
from knedit.analysis.findings import Bars, Dots, Edge, Graph, Heat, Lines, Node, Picture, Series

ODD = "<b> & $x_1^2$ 日本 \n\t"
PICTURES: list[Picture] = [
    Bars(
        "bars", "Bars of <b> & $x$", "", groups=("one", ODD), axis="share", percent=True,
        series=(Series("a", (0.5, None), ((0.4, 0.6), None)), Series("b", (-0.2, 0.0))),
        marks=((0.3, None), (None, None)),
    ),
    Dots("dots", "Dots", "", rows=("all", ODD), heads=1,
         series=(Series("a", (0.1, None), ((0, 0.2), None)), Series("b" * 90, (1, 2)))),
    Lines("lines", "Lines", "", at=(1, 2, 4), words=("1", "2", "4"),
          series=(Series("a", (0.1, 0.2, None), ((0, 0.2), (0.1, 0.3), None)), Series("b", (None, None, None)))),
    Heat("heat", "Heat", "", rows=("a", "b"), columns=tuple("abcdefghij"), values=((1.0, None, *[0.5] * 8),) * 2),
    Graph(
        "graph", "Graph", "", top="answer",
        nodes=(Node("0:1", 0, ODD, 0.2), Node("3:4", 3, "", 1), Node("answer", 4, "x", 1)),
        edges=(Edge("0:1", "3:4", 0.5), Edge("3:4", "answer", -1.0), Edge("0:1", "answer", 0.1, False)),
    ),
    Bars("nothing", "Nothing", ""),
]  # fmt: skip


@pytest.fixture(scope="module")
def drawn() -> dict[str, Drawn]:
    return {picture.name: draw(picture) for picture in PICTURES}


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_well_formed_svg_and_a_png(picture: Picture, drawn: dict[str, Drawn]) -> None:
    found = drawn[picture.name]
    root = ET.fromstring(found.svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert found.png.startswith(b"\x89PNG")
    assert not [one for one in root.iter() if one.tag.endswith(("script", "image", "foreignObject"))]


def test_the_same_picture_again_is_the_same_bytes(drawn: dict[str, Drawn]) -> None:
    assert draw(PICTURES[0]) == drawn["bars"]
    assert {type(picture) for picture in PICTURES} == set(KINDS)


@pytest.mark.parametrize(
    ("value", "percent", "words"),
    [
        (-0.2903, True, "−29 %"),
        (0.0101, True, "1.0 %"),
        (-0.0001, True, "0 %"),
        (4.134, False, "4.13"),
        (2996.0, False, "2,996"),
        (10.22, True, "1,022 %"),
        (26965.69, True, "2.7 · 10⁶ %"),
    ],
)
def test_values_are_told_shortly(value: float, percent: bool, words: str) -> None:
    assert told(value, percent=percent) == words


def test_an_axis_of_huge_numbers_is_logarithmic_ends_near_them_and_is_told_in_round_numbers() -> None:
    series = (Series("a", (0.01, 27000.0)), Series("b", (-0.002, 0.5)))
    with styled("wide"):
        bars = draw_bars(Bars("wide", "Wide", "", groups=("x", "y"), series=series, percent=True))
        dots = draw_dots(Dots("wide", "Wide", "", rows=("x", "y"), series=series, percent=True))
    for axes, axis, limits in (
        (bars.axes[0], bars.axes[0].yaxis, bars.axes[0].get_ylim()),
        (dots.axes[0], dots.axes[0].xaxis, dots.axes[0].get_xlim()),
    ):
        assert axis.get_scale() == "symlog"
        assert (limits[0], limits[1] < 1e6) == (-1.0, True)
        told_there = [axis.get_major_formatter()(place) for place in axis.get_majorticklocs()]
        assert {"0 %", "10,000 %", "10⁶ %"} <= set(told_there), (axes, told_there)


def test_a_bars_value_stands_above_a_published_mark_only_where_it_would_hide_it() -> None:
    picture = Bars("marks", "Marks", "", groups=("x", "y"), series=(Series("a", (1.0, 1.0)),), marks=((8.0, 1.2),))
    with styled("marks"):
        axes = draw_bars(picture).axes[0]
    assert [note.xy[1] for note in axes.texts if note.get_text() == "1"] == [1.0, 1.2]
