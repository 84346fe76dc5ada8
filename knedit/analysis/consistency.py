"""Whether a model says the same in all wordings, before and after an edit, and whether an edit reaches what follows.

Consistency: the share of pairs of a fact's wordings that are given the same prediction, which is the likeliest among
the objects of its relation, whether it is right or not; a relation's is the mean over its facts. Source: Elazar et
al., "Measuring and Improving Consistency in Pretrained Language Models" (ParaRel), TACL 2021. Symmetry asks an edited
fact for its subject, synonymy for another word for its new object: Niu et al., "What does the Knowledge Neuron Thesis
Have to do with Knowledge?", ICLR 2024. Degenerate pairs are neurons that alone matter little and together much: Chen
et al., "Journey to the Center of the Knowledge Neurons", AAAI 2024.
"""

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from math import exp

import torch
from torch import Tensor

from knedit.analysis.findings import Bars, Cell, Dots, Findings, Series, Table, mean, rate, share
from knedit.analysis.intervals import interval
from knedit.analysis.sheet import Notes, Row, Sheet
from knedit.analysis.update import SOLVERS, Heard
from knedit.models.hooks import frozen
from knedit.models.model import Model
from knedit.models.prompting import Query
from knedit.models.scaling import Place, Trial, speak

ALONE, TOGETHER = 0.2, 0.25  # shares of the probability that a degenerate pair loses at most, and at least
MOST_NEURONS = 12  # of a fact, whose pairs are tried
PROBES = {
    "wordings": "the new object, all wordings",
    "symmetry": "the subject, asked backwards",
    "synonymy": "a synonym of the new object",
    "implied": "the new object, where it is implied",
}
_REACHED = {"symmetry": "asked backwards", "synonymy": "by a synonym", "implied": "where it is implied"}

Probed = tuple[Sequence[Heard], Sequence[Heard]]  # what was heard before and after


def agreement(predictions: Sequence[Hashable]) -> float | None:
    """Return the share of pairs that are equal; None for fewer than two."""
    pairs = list(combinations(predictions, 2))
    return share(sum(one == other for one, other in pairs), len(pairs))


def is_degenerate(alone: Sequence[float], together: float) -> bool:
    """Tell whether each of a pair loses less than a fifth of the probability, and both together more than a quarter."""
    return max(alone) < ALONE and together > TOGETHER


@torch.no_grad()
def likeliest(model: Model, states: Sequence[Tensor], tokens: Sequence[int]) -> list[int]:
    """Return which of the tokens, by its number, is likeliest at each state [D] of the last block."""
    with frozen(model.net):
        logits = model.logits(torch.stack(list(states))).float()
    found: list[int] = logits[:, list(tokens)].argmax(-1).tolist()
    return found


def note_wordings(notes: Notes, predictions: Sequence[str], tops: Sequence[int], right: str) -> None:
    """Note how a fact's wordings agree: on an object of the relation, and on the likeliest token of all."""
    notes.add(
        "wordings", "", wordings=len(predictions), consistency=agreement(predictions), tokens=agreement(tops),
        accuracy=mean([float(one == right) for one in predictions]),
        all_right=float(all(one == right for one in predictions)),
    )  # fmt: skip


def note_edit(
    notes: Notes, solver: str, before: Sequence[str], after: Sequence[str], new: str, probes: Mapping[str, Probed]
) -> None:
    """Note the agreement of an edited fact's wordings before and after, and what its probes say.

    `probes` gives by a key of PROBES what was heard of the wished answer before and after.
    """
    notes.add(
        "edits", solver, wordings=len(before), before=agreement(before), after=agreement(after),
        success=mean([float(one == new) for one in after]),
    )  # fmt: skip
    for probe, (was, now) in probes.items():
        if was:
            notes.add(
                f"probe {probe}", solver, asked=len(was), before=mean([exp(-one.loss) for one in was]),
                after=mean([exp(-one.loss) for one in now]), right_before=sum(one.right for one in was),
                right_after=sum(one.right for one in now),
            )  # fmt: skip


def lost_shares(
    model: Model, queries: Sequence[Query], neurons: Sequence[Place]
) -> tuple[dict[Place, float], dict[tuple[Place, Place], float]]:
    """Return the share of the answer's probability that is lost without each neuron, and without each pair.

    The change ratio over all of the fact's prompts, with its sign turned: 0.3 where 30 % is lost.
    """
    pairs = list(combinations(neurons, 2))
    sets: list[tuple[Place, ...]] = [(), *[(place,) for place in neurons], *pairs]
    trials = [Trial(number, some) for some in sets for number in range(len(queries))]
    said = [one.probability for one in speak(model, queries, trials)]
    sums = [sum(said[place * len(queries) : (place + 1) * len(queries)]) for place in range(len(sets))]
    lost = [(sums[0] - total) / sums[0] if sums[0] else 0.0 for total in sums[1:]]
    return dict(zip(neurons, lost, strict=False)), dict(zip(pairs, lost[len(neurons) :], strict=True))


def findings(sheet: Sheet) -> Findings:
    """Return agreement of wordings, probes of edits, and degenerate pairs."""
    if not sheet.done:
        return Findings("consistency", "Do all wordings say the same?")
    tables = [table for table in (_wordings(sheet), _edits(sheet), _probes(sheet), _pairs(sheet)) if table.rows]
    pictures = [picture for picture in (_relations(sheet), _probe_bars(sheet)) if picture.series]
    lost = len({(row.part, row.key) for row in sheet.rows("failures")})
    return Findings(
        "consistency",
        "Do all wordings say the same?",
        answer=tuple(_answer(sheet)),
        tables=tuple(tables),
        pictures=tuple(pictures),
        notes=(
            "Consistency is ParaRel's: the share of pairs of wordings with the same prediction among the relation's "
            "objects. Symmetry and synonymy are probed where a wording can be turned around, and where a synonym is "
            "known.",
            f"{lost} edits could not be solved; they count as no change." if lost else "",
        ),
    )


def _by_relation(sheet: Sheet, metric: str) -> dict[str, float | None]:
    found: dict[str, list[float | None]] = {}
    for row in sheet.rows("wordings"):
        found.setdefault(sheet.about(row.part, "relation"), []).append(row.numbers[metric])
    return {relation: mean(values) for relation, values in sorted(found.items())}


def _rows_of(sheet: Sheet, series: str, solver: str) -> list[Row]:
    return [row for row in sheet.rows(series) if row.key == solver]


def _solvers(sheet: Sheet) -> list[str]:
    known = {row.key for row in sheet.rows("edits")}
    return [solver for solver in SOLVERS if solver in known]


def _answer(sheet: Sheet) -> list[str]:
    told = []
    consistency = mean(list(_by_relation(sheet, "consistency").values()))
    accuracy = mean(list(_by_relation(sheet, "accuracy").values()))
    if consistency is not None and accuracy is not None:
        told.append(
            f"Two wordings of a fact agree {rate(consistency)} of the time; {rate(accuracy)} of answers are right."
        )
    for solver in _solvers(sheet):
        rows = _rows_of(sheet, "edits", solver)
        before, after, success = (mean([row.numbers[name] for row in rows]) for name in ("before", "after", "success"))
        if before is None or after is None or success is None:
            continue
        name = SOLVERS[solver].replace("the paper's", "The paper's", 1)
        words = f"{name}: wordings of edited facts agree {rate(after)} of the time, after {rate(before)}; "
        told.append(f"{words}{rate(success)} of them give the new object{_reach(sheet, solver)}.")
    pairs = list(sheet.rows("pairs"))
    if pairs:
        count, every = sum(row["degenerate"] for row in pairs), sum(row["pairs"] for row in pairs)
        holders = sum(row["degenerate"] > 0 for row in pairs)
        told.append(
            f"{count:.0f} of {every:.0f} pairs of neurons are degenerate, in {holders} of {len(pairs)} facts: alone "
            f"each loses less than {rate(ALONE)} of the probability, together they lose more than {rate(TOGETHER)}."
        )
    return told


def _reach(sheet: Sheet, solver: str) -> str:
    parts = []
    for probe, words in _REACHED.items():
        rows = _rows_of(sheet, f"probe {probe}", solver)
        if rows:
            right = share(sum(row["right after"] for row in rows), sum(row["asked"] for row in rows)) or 0.0
            parts.append(f"{rate(right)} {words}")
    return f", {', '.join(parts)}" if parts else ""


def _wordings(sheet: Sheet) -> Table:
    metrics = ("consistency", "tokens", "accuracy", "all right")
    by_metric = {metric: _by_relation(sheet, metric) for metric in metrics}
    counts: dict[str, int] = {}
    for row in sheet.rows("wordings"):
        relation = sheet.about(row.part, "relation")
        counts[relation] = counts.get(relation, 0) + 1
    rows: list[tuple[Cell, ...]] = [
        (relation, counts[relation], *(by_metric[metric][relation] for metric in metrics))
        for relation in by_metric["consistency"]
    ]
    if rows:
        means = [mean(list(by_metric[metric].values())) for metric in metrics]
        rows.insert(0, ("all relations", sum(counts.values()), *means))
    columns = ("relation", "facts", "consistency", "same likeliest token", "right", "facts right in all wordings")
    return Table("consistency", "Agreement of wordings", columns, tuple(rows), percent=columns[2:])


def _edits(sheet: Sheet) -> Table:
    rows = [
        (
            sheet.about(row.part, "named"), SOLVERS.get(row.key, row.key), row["wordings"], row.numbers["before"],
            row.numbers["after"], row.numbers["success"],
        )
        for row in sheet.rows("edits")
    ]  # fmt: skip
    columns = ("fact", "solver", "wordings", "consistency before", "after", "give the new object")
    return Table("consistency-edits", "Edited facts", columns, tuple(rows), percent=columns[3:])


def _probes(sheet: Sheet) -> Table:
    rows = []
    for probe, words in PROBES.items():
        for solver in _solvers(sheet):
            found = _rows_of(sheet, f"probe {probe}", solver)
            if found:
                asked = sum(row["asked"] for row in found)
                rows.append(
                    (
                        words, SOLVERS[solver], len(found), asked, mean([row["before"] for row in found]),
                        mean([row["after"] for row in found]), share(sum(row["right before"] for row in found), asked),
                        share(sum(row["right after"] for row in found), asked),
                    )
                )  # fmt: skip
    columns = ("asked for", "solver", "edits", "prompts", "probability before", "probability after",
               "likeliest before", "likeliest after")  # fmt: skip
    return Table("consistency-probes", "What an edit reaches", columns, tuple(rows), percent=columns[4:])


def _pairs(sheet: Sheet) -> Table:
    rows = [
        (
            sheet.about(row.part, "named"), row["neurons"], row["pairs"], row["degenerate"], row.numbers["alone"],
            row.numbers["together"],
        )
        for row in sheet.rows("pairs")
    ]  # fmt: skip
    columns = ("fact", "neurons", "pairs", "degenerate", "lost without one, mean", "lost without two, mean")
    return Table("degenerate-pairs", "Pairs of neurons", columns, tuple(rows), percent=columns[4:])


def _relations(sheet: Sheet) -> Dots:
    found = {metric: _by_relation(sheet, metric) for metric in ("consistency", "accuracy")}
    names = list(found["consistency"])
    series = tuple(
        Series(
            label,
            (mean(list(found[metric].values())), *(found[metric][name] for name in names)),
            (interval(list(found[metric].values())), *[None] * len(names)),
        )
        for metric, label in (("consistency", "wordings agree"), ("accuracy", "answers are right"))
        if names
    )
    return Dots(
        "consistency", "Wordings that agree, and answers that are right",
        "Shares by relation: pairs of wordings with the same prediction, and right predictions; at the top the "
        "mean over relations with its 95 % interval.",
        rows=("all relations", *names), series=series, axis="share", percent=True, heads=1,
    )  # fmt: skip


def _probe_bars(sheet: Sheet) -> Bars:
    series = []
    known = [probe for probe in PROBES if any(_rows_of(sheet, f"probe {probe}", s) for s in _solvers(sheet))]
    for solver in _solvers(sheet):
        values = []
        for probe in known:
            rows = _rows_of(sheet, f"probe {probe}", solver)
            values.append(share(sum(row["right after"] for row in rows), sum(row["asked"] for row in rows)))
        series.append(Series(SOLVERS[solver], tuple(values)))
    return Bars(
        "consistency-probes", "What an edit reaches",
        "Share of prompts whose likeliest answer is the wished one after the edit.",
        groups=tuple(PROBES[probe].replace(", ", ",\n") for probe in known), series=tuple(series),
        axis="share of prompts", percent=True,
    )  # fmt: skip
