"""What an update of one fact does: is its answer another one, the wished one, and what else became less likely.

Source: Dai et al., ACL 2022, section 4.3, and their code (6_edit_knowledge_sampled.py): an edit is judged by the one
prompt that it was made for. Change rate: the likeliest token is another. Success rate: it is the new object. The
perplexity of a set of facts is exp of the mean of −ln p(answer), first over an edit's prompts, then over edits; its
rise is a difference, not a ratio. What other wordings say is knedit's own addition.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

from knedit.analysis.findings import HUGE, Bars, Findings, Series, Table, huge, mean, rate, share
from knedit.analysis.intervals import interval, rise_interval
from knedit.analysis.published import published
from knedit.analysis.sheet import Notes, Row, Sheet

Place = tuple[int, int]

SOLVERS = {
    "paper": "the paper's solver",
    "signed": "the paper's, by sign",
    "random": "the paper's, random neurons",
    "closed-form": "knedit's closed form",
}
HUB_SHARE, FEWEST_USERS = 0.1, 2


@dataclass(frozen=True, slots=True)
class Heard:
    """What a prompt said: the mean −ln p of its answer's tokens, whether each was the argmax, and the first argmax."""

    loss: float
    right: bool
    top: int


@dataclass(frozen=True, slots=True)
class Edited:
    """One edit, before and after: its own prompt asked for the old and the new object, and other prompts.

    `unseen` are wordings that the solver did not see, asked for the new object; `within` and `across` are prompts of
    other facts, of the relation and of other relations, asked for their own.
    """

    old: tuple[Heard, Heard]
    new: tuple[Heard, Heard]
    unseen: Sequence[Heard]
    within: tuple[Sequence[Heard], Sequence[Heard]]
    across: tuple[Sequence[Heard], Sequence[Heard]]


def without_hubs(neurons: Sequence[Place], users: Mapping[Place, int], facts: int) -> list[Place]:
    """Return the neurons that at most a tenth of a relation's facts hold, as the authors count them.

    They count the fact itself twice: one more than `users`, the relation's facts that hold a neuron, itself included.
    Where a relation has fewer than 20 facts, a neuron that no other one holds is kept all the same.
    """
    most = max(HUB_SHARE * facts, FEWEST_USERS)
    return [place for place in neurons if users.get(place, 1) + 1 <= most]


def perplexity_rise(before: Sequence[float], after: Sequence[float]) -> float | None:
    """Return exp(mean after) − exp(mean before) of each edit's mean −ln p; None without edits."""
    return exp(sum(after) / len(after)) - exp(sum(before) / len(before)) if before else None


def note(notes: Notes, solver: str, edit: Edited, *, neurons: int, seconds: float) -> None:
    """Note how one edit by one solver went."""
    before, after = edit.old
    notes.add(
        "solvers",
        solver,
        change=after.top != before.top,
        success=edit.new[1].right,
        old_before=exp(-before.loss),
        old_after=exp(-after.loss),
        new_before=exp(-edit.new[0].loss),
        new_after=exp(-edit.new[1].loss),
        unseen=len(edit.unseen),
        unseen_success=sum(one.right for one in edit.unseen),
        within_before=_mean_loss(edit.within[0]),
        within_after=_mean_loss(edit.within[1]),
        across_before=_mean_loss(edit.across[0]),
        across_after=_mean_loss(edit.across[1]),
        neurons=neurons,
        seconds=seconds,
    )


def _mean_loss(heard: Sequence[Heard]) -> float | None:
    return mean([one.loss for one in heard])


def findings(sheet: Sheet) -> Findings:
    """Return rates and rises by solver."""
    by_solver = rows_by_solver(sheet)
    if not by_solver:
        return Findings("update", "Updating facts")
    lost = {row.part for row in sheet.rows("failures")}
    return Findings(
        "update",
        "Updating facts",
        answer=tuple(_answer(solver, rows) for solver, rows in by_solver.items()),
        tables=(_table(by_solver), _perplexities(by_solver), _edits(sheet)),
        pictures=(_rates(by_solver), _rises(by_solver)),
        notes=(
            "Facts are those whose drawn prompt the model answers rightly; the new object is another fact's of the "
            "relation. Success is judged at that prompt alone, as in the paper; unseen wordings were not shown to the "
            "solver. knedit's own solver is given the fact's other prompts and knows the relation's other facts.",
            "By sign: the paper's change is turned around for neurons that fire negatively at the fact's prompts, as "
            "gated blocks let them.",
            f"{len(lost)} edits could not be solved by some solver; they count as no change." if lost else "",
        ),
        figures=_figures(by_solver),
    )


def rows_by_solver(sheet: Sheet) -> dict[str, list[Row]]:
    """Return the rows of each solver, solvers in the order of SOLVERS, others after them."""
    found: dict[str, list[Row]] = {}
    for row in sheet.rows("solvers"):
        found.setdefault(row.key, []).append(row)
    order = [name for name in SOLVERS if name in found]
    return {name: found[name] for name in [*order, *sorted(found.keys() - SOLVERS.keys())]}


def losses(rows: Sequence[Row], where: str) -> tuple[list[float], list[float]]:
    """Return the mean −ln p before and after, of edits that have both."""
    pairs = [(row.numbers[f"{where} before"], row.numbers[f"{where} after"]) for row in rows]
    known = [(was, now) for was, now in pairs if was is not None and now is not None]
    return [was for was, _ in known], [now for _, now in known]


def _rate(rows: Sequence[Row], metric: str) -> float | None:
    return mean([row.numbers[metric] for row in rows])


def _unseen(rows: Sequence[Row]) -> float | None:
    return share(sum(row["unseen success"] for row in rows), sum(row["unseen"] for row in rows))


def _answer(solver: str, rows: Sequence[Row]) -> str:
    change, success = _rate(rows, "change") or 0.0, _rate(rows, "success") or 0.0
    within, across = (perplexity_rise(*losses(rows, where)) for where in ("within", "across"))
    told = [
        f"by {_signed(value)} {words}"
        for value, words in ((within, "within the relation"), (across, "in other relations"))
        if value is not None
    ]
    rest = f"; perplexity rises {' and '.join(told)}" if told else ""
    name = SOLVERS.get(solver, solver).replace("the paper's", "The paper's", 1)
    return f"{name}: {len(rows)} edits, {rate(change)} change the answer, {rate(success)} succeed{rest}."


def _signed(value: float) -> str:
    if value >= HUGE:
        return f"+{huge(value)}"
    return (f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.3g}").replace("-", "−")


def _table(by_solver: Mapping[str, Sequence[Row]]) -> Table:
    rows = []
    for solver, own in by_solver.items():
        rises = [perplexity_rise(*losses(own, where)) for where in ("within", "across")]
        rows.append(
            (
                SOLVERS.get(solver, solver), len(own), _rate(own, "change"), _rate(own, "success"), _unseen(own),
                *rises, _rate(own, "neurons"), _rate(own, "seconds"),
            )
        )  # fmt: skip
    columns = (
        "solver", "edits", "change rate", "success rate", "success, unseen wordings", "perplexity within",
        "perplexity across", "value vectors", "seconds",
    )  # fmt: skip
    return Table("update", "Means over edits", columns, tuple(rows), percent=columns[2:5])


def _perplexities(by_solver: Mapping[str, Sequence[Row]]) -> Table:
    rows = []
    for solver, own in by_solver.items():
        for where, label in (("within", "facts of the relation"), ("across", "facts of other relations")):
            before, after = losses(own, where)
            low, high = rise_interval(before, after) or (None, None)
            levels = _levels((before, after))
            rows.append((SOLVERS.get(solver, solver), label, *levels, perplexity_rise(before, after), low, high))
    columns = ("solver", "asked of", "before", "after", "rise", "95 % from", "to")
    return Table("update-perplexity", "Perplexity of other facts' answers", columns, tuple(rows))


def _levels(pair: tuple[Sequence[float], Sequence[float]]) -> tuple[float | None, float | None]:
    before, after = pair
    return (exp(sum(before) / len(before)), exp(sum(after) / len(after))) if before else (None, None)


def _edits(sheet: Sheet) -> Table:
    rows = []
    for row in sheet.rows("solvers"):
        told = sheet.row("edit", row.part, "")
        texts = {} if told is None else told.texts
        failure = sheet.row("failures", row.part, row.key)
        rows.append(
            (
                sheet.about(row.part, "named"), texts.get("new", ""), texts.get("prompt", ""),
                SOLVERS.get(row.key, row.key), "yes" if row["change"] else "no", "yes" if row["success"] else "no",
                row.numbers["old before"], row.numbers["old after"], row.numbers["new before"],
                row.numbers["new after"], "" if failure is None else failure.texts.get("reason", ""),
            )
        )  # fmt: skip
    columns = (
        "fact", "new object", "prompt", "solver", "changed", "succeeded", "old before", "old after", "new before",
        "new after", "why not",
    )  # fmt: skip
    return Table("update-edits", "Every edit", columns, tuple(rows), percent=columns[6:10])


def _rates(by_solver: Mapping[str, Sequence[Row]]) -> Bars:
    metrics = ("change", "success")
    series = [
        Series(
            SOLVERS.get(solver, solver),
            (*(_rate(rows, metric) for metric in metrics), _unseen(rows)),
            (*(interval([row.numbers[metric] for row in rows]) for metric in metrics), None),
        )
        for solver, rows in by_solver.items()
    ]
    marks = [
        tuple(published(f"update {_of(solver)}{metric}") for metric in (*metrics, "unseen")) for solver in by_solver
    ]
    return Bars(
        "update", "Updates that change the answer, and that give the new one",
        "Shares of edits by solver, with their 95 % intervals; at the right, of wordings that the solver did not see.",
        groups=("another answer", "the new answer", "the new answer,\nunseen wordings"), series=tuple(series),
        axis="share of edits", percent=True, marks=tuple(marks),
    )  # fmt: skip


def _of(solver: str) -> str:
    return {"paper": "", "random": "random "}.get(solver, f"{solver} ")


def _rises(by_solver: Mapping[str, Sequence[Row]]) -> Bars:
    places = ("within", "across")
    series = []
    for solver, rows in by_solver.items():
        pairs = [losses(rows, where) for where in places]
        series.append(
            Series(
                SOLVERS.get(solver, solver),
                tuple(perplexity_rise(*pair) for pair in pairs),
                tuple(rise_interval(*pair) for pair in pairs),
            )
        )
    marks = [tuple(published(f"update {_of(solver)}{where}") for where in places) for solver in by_solver]
    return Bars(
        "update-perplexity", "What an update costs other facts",
        "Rise of the perplexity of other facts' answers, with its 95 % interval over edits; less is better.",
        groups=("facts of the relation", "facts of other relations"), series=tuple(series),
        axis="rise of the perplexity", marks=tuple(marks),
    )  # fmt: skip


def _figures(by_solver: Mapping[str, Sequence[Row]]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for solver, rows in by_solver.items():
        found |= {f"update {_of(solver)}{metric}": _rate(rows, metric) for metric in ("change", "success")}
        found |= {
            f"update {_of(solver)}{where}": perplexity_rise(*losses(rows, where)) for where in ("within", "across")
        }
    return found
