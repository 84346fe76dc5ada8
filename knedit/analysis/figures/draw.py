"""Draw a picture told as a record: as SVG, its letters as paths, and as PNG. One function a kind of picture.

Knows no experiment and no files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from knedit.analysis.figures.charts import draw_bars, draw_dots, draw_heat, draw_lines
from knedit.analysis.figures.layered import draw_graph
from knedit.analysis.figures.style import styled
from knedit.analysis.findings import Bars, Dots, Graph, Heat, Lines, Picture

DPI = 160

Draw = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture's two files: SVG text without XML's opening lines, and PNG bytes."""

    svg: str
    png: bytes


def draw(picture: Picture) -> Drawn:
    """Return the picture drawn; the same picture gives the same bytes on one machine.

    Raises KneditError where the plotting library is not installed.
    """
    with styled(picture.name):
        figure = KINDS[type(picture)](picture)
        svg, png = BytesIO(), BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": "knedit", "Title": picture.title})
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": "knedit", "Title": picture.title})
    text = svg.getvalue().decode()
    return Drawn(text[text.index("<svg") :], png.getvalue())


KINDS: Mapping[type, Draw] = {
    Bars: draw_bars,
    Dots: draw_dots,
    Lines: draw_lines,
    Heat: draw_heat,
    Graph: draw_graph,
}
