"""The layered picture of a graph: nodes on the level of their layer, the answer on top, edges upward.

Edges that drive are blue and whole, those that hold back vermilion and broken; what a check did not bear out is
thin and grey. Knows no experiment.
"""

import textwrap
from collections import defaultdict
from typing import Any

from knedit.analysis.figures.style import COLOURS, FAINT, INK, WIDTH, head
from knedit.analysis.findings import Graph, Node

_LETTERS = 96  # of a line through all labels of a level
_ROOMY = 5  # nodes of a level that have their words beside them; those of more have them below


def draw_graph(picture: Graph) -> Any:
    from matplotlib.figure import Figure

    levels: dict[int, list[Node]] = defaultdict(list)
    for node in picture.nodes:
        levels[node.layer].append(node)
    heights = {layer: number for number, layer in enumerate(sorted(levels))}
    places = _places(levels, heights)
    figure = Figure(figsize=(WIDTH, 1.5 + 0.78 * (len(heights) + 0.3)), layout="constrained")
    axes = figure.subplots()
    for edge in picture.edges:
        _draw_edge(axes, places[edge.source], places[edge.target], edge.weight, sure=edge.sure)
    for node in picture.nodes:
        beside = len(levels[node.layer])
        _draw_node(axes, node, places[node.name], top=node.name == picture.top, beside=beside)
    axes.set_yticks(list(heights.values()), [_level(layer, levels[layer], picture.top) for layer in heights])
    axes.set_xlim(-0.06, 1.06)
    axes.set_ylim(-0.55, len(heights) - 0.45)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    for height in heights.values():
        axes.axhline(height, color=FAINT, linewidth=0.5, zorder=0)
    _explain(figure, picture.title)
    return figure


def _level(layer: int, nodes: list[Node], top: str) -> str:
    return "" if [node.name for node in nodes] == [top] else f"layer {layer}"


def _places(levels: dict[int, list[Node]], heights: dict[int, int]) -> dict[str, tuple[float, float]]:
    found = {}
    for layer, nodes in levels.items():
        shift = 0.04 * (heights[layer] % 2)  # so that edges over several levels do not run through nodes
        for number, node in enumerate(nodes):
            found[node.name] = ((number + 0.38) / len(nodes) * 0.95 + shift, float(heights[layer]))
    return found


def _draw_edge(axes: Any, start: tuple[float, float], end: tuple[float, float], weight: float, *, sure: bool) -> None:
    from matplotlib.patches import FancyArrowPatch

    shade = FAINT if not sure else COLOURS[0] if weight > 0 else COLOURS[1]
    bend = 0.0 if abs(start[1] - end[1]) <= 1 else 0.16 * (1 if start[0] < 0.5 else -1)
    arrow = FancyArrowPatch(
        start, end, connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=7, color=shade, shrinkA=8,
        shrinkB=10, linewidth=0.5 + 3.2 * abs(weight) if sure else 0.5, linestyle="-" if weight > 0 else (0, (4, 2)),
        zorder=1,
    )  # fmt: skip
    axes.add_patch(arrow)


def _draw_node(axes: Any, node: Node, place: tuple[float, float], *, top: bool, beside: int) -> None:
    size = 9 + 9 * node.weight
    axes.plot(*place, marker="s" if top else "o", markersize=size, color=COLOURS[4] if top else "white",
              markeredgecolor=INK, markeredgewidth=1.0, zorder=3)  # fmt: skip
    crowded = beside > _ROOMY
    away, level, upright = ((0, -size / 2 - 1), "center", "top") if crowded else ((size / 2 + 2, 0), "left", "center")
    axes.annotate(
        _label(node, beside), place, away, textcoords="offset points", ha=level, va=upright,
        fontsize=6 if crowded else 7, zorder=2, linespacing=1.15,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
    )  # fmt: skip


def _label(node: Node, beside: int) -> str:
    """Return a node's name and words in lines that fit between the nodes of its level, which are `beside` with it."""
    letters = max(_LETTERS // beside - (0 if beside > _ROOMY else 5), 6)
    lines = textwrap.wrap(node.words, letters, max_lines=2 if beside > _ROOMY else 3, placeholder=" …")
    return "\n".join([node.name, *lines])


def _explain(figure: Any, title: str) -> None:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=COLOURS[0], linewidth=2),
        Line2D([], [], color=COLOURS[1], linewidth=2, linestyle=(0, (4, 2))),
        Line2D([], [], color=FAINT, linewidth=0.8),
    ]
    words = ["drives", "holds back", "not borne out when the lower neuron is set to 0"]
    head(figure, title, lines, words)
