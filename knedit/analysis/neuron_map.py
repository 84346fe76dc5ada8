"""A fact's neurons over all layers as a graph: how much each lower one drives each upper one, and the answer.

An edge from u to v is the integral, along the path on which all neurons of u's layer grow together from 0 to what they
are, of the gradient of v's activation by u's: path-integrated attribution with a neuron in the answer's place. All
edges from a layer to v, those of neurons that are no part of the map included, add up to what v gains on the path. An
edge is checked by ablation: with u alone set to 0, what does v lose? Source: the paths of Dai et al., ACL 2022, the
query neurons of Yu and Ananiadou, EMNLP 2024; the graph is knedit's own. Knows no catalog.
"""

import json
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch
from torch import Tensor

from knedit.analysis.findings import Edge, Findings, Graph, Node, Table, mean, rate
from knedit.analysis.intervals import interval
from knedit.analysis.sheet import Notes, Row, Sheet
from knedit.analysis.vocabulary_reading import read_values
from knedit.models.driving import Driving, Target
from knedit.models.model import Model
from knedit.models.prompting import Query
from knedit.models.scaling import Place

MOST = 12  # neurons of a fact
STEPS = 5
ANSWER = "answer"
FAINT, DRAWN = 0.02, 40  # the least share of an edge that is drawn, and how many are at most
WORDS = 4  # of a neuron's reading
FACTS = 6  # whose maps are drawn
ROUGH = 0.1  # share of a gain that edges may miss
_MEMORY = 2**28


def measure(model: Model, queries: Sequence[Query], places: Sequence[Place], notes: Notes) -> None:
    """Note the neurons with their readings, and every edge upward: means over the queries."""
    targets: list[Target] = [*places, None]
    edges = {(u, v): torch.zeros(2, dtype=torch.float64) for u in places for v in targets if v is None or v[0] > u[0]}
    own = torch.zeros(len(places), dtype=torch.float64)
    answer, errors = 0.0, []
    for query in queries:
        driving = Driving(model, query)
        base = driving.activations(places).double()
        answer += driving.answer() / len(queries)
        own += base / len(queries)
        errors += _integrate(driving, places, edges, len(queries))
        _ablate(driving, places, base, edges, len(queries))
    signs = own.sign()
    readings = [one for some in read_values(model, list(places), top=WORDS, memory=_MEMORY) for one in some]
    for number, (place, reading) in enumerate(zip(places, readings, strict=True)):
        told = reading.bottom if signs[number] < 0 else reading.top
        notes.add("nodes", name(place), layer=place[0], activation=float(own[number]))
        notes.say("nodes", name(place), "says", json.dumps([word for word, _ in told], ensure_ascii=False))
    at = {place: number for number, place in enumerate(places)}
    for (u, v), (driven, lost) in edges.items():
        whole = answer if v is None else float(own[at[v]])  # signed: what drives v the way it goes is positive
        notes.add(
            "edges", f"{name(u)} {name(v)}", attribution=float(driven), lost=float(lost),
            share=float(driven) / whole if whole else None,
        )  # fmt: skip
    worst = max(errors, default=None)
    notes.add("fact", "", answer=answer, error=median(errors) if errors else None, worst=worst, prompts=len(queries))


def name(target: Target) -> str:
    """Return what a map calls a neuron, or the answer."""
    return ANSWER if target is None else f"{target[0]}:{target[1]}"


Edges = dict[tuple[Place, Target], Tensor]


def _integrate(driving: Driving, places: Sequence[Place], edges: Edges, count: int) -> list[float]:
    """Add each edge's attribution; return how far the layers' sums miss what their targets gain, as a share of it."""
    points, weights = np.polynomial.legendre.leggauss(STEPS)
    alphas, shares = [*((points + 1) / 2).tolist(), 0.0, 1.0], torch.tensor(weights / 2)
    errors = []
    for layer in sorted({layer for layer, _ in places}):
        upper: list[Target] = [place for place in places if place[0] > layer]
        upper.append(None)
        for target, driven in zip(upper, driving.along(layer, upper, alphas), strict=True):
            found = (shares[:, None] * driven.gradients[:STEPS].double()).sum(0)  # [F]
            rise = float(driven.values[-1] - driven.values[-2])
            if abs(rise) > 1e-6:
                errors.append(abs(float(found.sum()) - rise) / abs(rise))
            for place in (one for one in places if one[0] == layer):
                edges[place, target][0] += float(found[place[1]]) / count
    return errors


def _ablate(driving: Driving, places: Sequence[Place], base: Tensor, edges: Edges, count: int) -> None:
    targets: list[Target] = [*places, None]
    without = driving.without(places, targets)
    whole = torch.cat([base, torch.tensor([driving.answer()], dtype=torch.float64)])
    for row, u in enumerate(places):
        for column, v in enumerate(targets):
            if (u, v) in edges:
                edges[u, v][1] += float(whole[column] - without[row, column]) / count


def findings(sheet: Sheet) -> Findings:
    """Return the maps, and how well ablation bears them out."""
    if not sheet.done:
        return Findings("map", "How a fact's neurons drive each other")
    agreements = [
        found for part in sheet.done if (found := agreement(list(sheet.rows("edges", part.part)))) is not None
    ]
    ranks = [
        found for part in sheet.done if (found := rank_correlation(list(sheet.rows("edges", part.part)))) is not None
    ]
    return Findings(
        "map",
        "How a fact's neurons drive each other",
        answer=_answer(sheet, agreements, ranks),
        tables=(_table(sheet),),
        pictures=tuple(_graph(sheet, part) for part in _richest(sheet)),
        notes=(
            "An edge is the path-integrated attribution of the upper activation, or of the answer's probability, to "
            "the lower neuron, as a share of it. It is borne out where setting the lower neuron alone to 0 moves the "
            f"upper one the same way. At the answer's first token alone; edges below {rate(FAINT)} are not drawn.",
            f"Drawn are the maps of the {FACTS} facts with the most edges." if len(sheet.done) > FACTS else "",
        ),
    )


def _richest(sheet: Sheet) -> list[str]:
    """Return the parts whose maps are drawn: those with the most edges."""
    parts = [part.part for part in sheet.done]
    return sorted(parts, key=lambda part: -len(list(sheet.rows("edges", part))))[:FACTS]


def agreement(edges: Sequence[Row]) -> float | None:
    """Return the share of edges whose sign ablation bears out, each weighted by its size; None without edges."""
    known = [row for row in edges if abs(row["attribution"]) > 0]
    whole = sum(_size(row) for row in known)
    return sum(_size(row) for row in known if row["attribution"] * row["lost"] > 0) / whole if whole else None


def rank_correlation(edges: Sequence[Row]) -> float | None:
    """Return Spearman's ρ of attribution and what ablation loses, over all edges to neurons; None for too few."""
    pairs = [(row["attribution"], row["lost"]) for row in edges if not row.key.endswith(ANSWER)]
    if len(pairs) < 3:
        return None
    one, other = (_ranks([pair[side] for pair in pairs]) for side in (0, 1))
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean()) / spread if spread else None


def _ranks(values: Sequence[float]) -> np.ndarray:
    order = np.argsort(np.argsort(np.array(values), kind="stable"), kind="stable")
    ranks: np.ndarray = order.astype(np.float64)
    return ranks


def _size(row: Row) -> float:
    return abs(row.numbers.get("share") or 0.0)


def _answer(sheet: Sheet, agreements: Sequence[float], ranks: Sequence[float]) -> tuple[str, ...]:
    facts = len(sheet.done)
    told = []
    if agreements:
        told.append(
            f"In the maps of {facts} facts, edges with {rate(sum(agreements) / len(agreements))} of the weight keep "
            "their sign when the lower neuron is set to 0."
        )
    if ranks:
        span = interval(list(ranks))
        between = "" if span is None else f" ({span[0]:.2f} to {span[1]:.2f})".replace("-", "−")
        told.append(f"Attribution and ablation rank the edges alike with ρ = {mean(list(ranks)):.2f}{between}.")
    errors = [error for row in sheet.rows("fact") if (error := row.numbers["error"]) is not None]
    if errors:
        rough = sum((row.numbers["worst"] or 0.0) > ROUGH for row in sheet.rows("fact"))
        told.append(
            f"All edges from a layer to a neuron miss what it gains by {rate(median(errors), 1)} (median); in {rough} "
            f"of {facts} maps some layer's miss it by more than {rate(ROUGH)}, since its path is rough."
        )
    return tuple(told)


def _table(sheet: Sheet) -> Table:
    rows = []
    for row in sheet.rows("edges"):
        lower, _, upper = row.key.partition(" ")
        rows.append(
            (
                sheet.about(row.part, "named"), lower, upper, row["attribution"], row.numbers["share"], row["lost"],
                "yes" if row["attribution"] * row["lost"] > 0 else "no",
            )
        )  # fmt: skip
    rows.sort(key=lambda one: (str(one[0]), -abs(one[4] or 0.0)))
    columns = ("fact", "from", "to", "attribution", "share", "lost without it", "borne out")
    return Table("map", "Edges", columns, tuple(rows), percent=("share",))


def _edge(row: Row) -> Edge:
    lower, _, upper = row.key.partition(" ")
    weight = max(-1.0, min(1.0, row["share"]))
    return Edge(lower, upper, weight, row["attribution"] * row["lost"] > 0)


def _graph(sheet: Sheet, part: str) -> Graph:
    named = sheet.about(part, "named")
    rows = [row for row in sheet.rows("edges", part) if abs(row.numbers["share"] or 0.0) >= FAINT]
    rows.sort(key=lambda row: -_size(row))
    edges = tuple(_edge(row) for row in rows[:DRAWN])
    to_answer = {row.key.split(" ")[0]: _size(row) for row in sheet.rows("edges", part) if row.key.endswith(ANSWER)}
    largest = max(to_answer.values(), default=0.0) or 1.0
    nodes = [
        Node(row.key, int(row["layer"]), ", ".join(word.strip() for word in json.loads(row.texts["says"])),
             to_answer.get(row.key, 0.0) / largest)
        for row in sheet.rows("nodes", part)
    ]  # fmt: skip
    nodes.sort(key=lambda node: (node.layer, int(node.name.partition(":")[2])))
    fact = sheet.row("fact", part, "")
    chance = "" if fact is None else f"p = {fact['answer']:.2f}"
    top = Node(
        ANSWER, max((node.layer for node in nodes), default=0) + 1, f"{named.rpartition(' – ')[2]}, {chance}", 1.0
    )
    return Graph(
        f"map-{part}", f"How the neurons of {named} drive each other",
        "Each neuron with its value vector in words, the larger the more it drives the answer; edges upward, the wider "
        "the larger their share of the upper neuron's activation.",
        nodes=(*nodes, top), edges=edges, top=ANSWER,
    )  # fmt: skip
