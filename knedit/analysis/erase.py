"""What erasing a relation does: how perplexed the model is by the relation's answers, and by all others.

Source: Dai et al., ACL 2022, section 4.4, and their code (7_erase_knowledge.py): the value vectors of the relation's 20
most common neurons become 0; perplexity is exp of the mean of −ln p(answer) over all prompts, and its change is told
as a share of what it was. (Their code prints it with the opposite sign; their paper, and this, say more for worse.)
"""

from collections.abc import Sequence
from math import exp

from knedit.analysis.findings import Bars, Cell, Dots, Findings, Series, Table, mean, percent, rate, share
from knedit.analysis.intervals import interval
from knedit.analysis.sheet import Notes, Row, Sheet
from knedit.analysis.update import Heard

SOLVERS = {"paper": "the paper's: 20 neurons to 0", "random": "20 random neurons to 0", "prior": "knedit's prior"}
SIDES = {"own": "the erased relation", "other": "other relations"}


def perplexity(losses: Sequence[float]) -> float | None:
    """Return exp of the mean −ln p of answers; None without any."""
    average = mean(losses)
    return None if average is None else exp(average)


def relative_rise(before: float, after: float) -> float:
    """Return (after − before) / before: positive where the model is more perplexed than it was."""
    return (after - before) / before


def note(
    notes: Notes, solver: str, side: str, before: Sequence[Heard], after: Sequence[Heard], *, neurons: int
) -> None:
    """Note how the prompts of one side were answered before and after."""
    if before:
        notes.add(
            f"{solver} {side}", "", prompts=len(before), neurons=neurons,
            loss_before=mean([one.loss for one in before]), loss_after=mean([one.loss for one in after]),
            right_before=sum(one.right for one in before), right_after=sum(one.right for one in after),
        )  # fmt: skip


def findings(sheet: Sheet) -> Findings:
    """Return perplexities by relation and solver, before and after."""
    if not sheet.done:
        return Findings("erase", "Erasing relations")
    return Findings(
        "erase",
        "Erasing relations",
        answer=_answer(sheet),
        tables=(_table(sheet),),
        pictures=(_whole(sheet), _dots(sheet)),
        notes=(
            "Perplexity is exp of the mean −ln p of the answers' tokens at their prompts. knedit's prior brings a "
            "fact's answer down to what the model says without its subject, so an erased relation is meant to stay "
            "likely in general: read its accuracy beside it.",
        ),
        figures={f"erase {side}": mean(_rises(sheet, "paper", side)) for side in SIDES},
    )


def _row(sheet: Sheet, part: str, solver: str, side: str) -> Row | None:
    return sheet.row(f"{solver} {side}", part, "")


def rise_of(row: Row) -> float:
    """Return a side's relative rise of perplexity."""
    return relative_rise(exp(row["loss before"]), exp(row["loss after"]))


def _rises(sheet: Sheet, solver: str, side: str) -> list[float | None]:
    rows = [_row(sheet, part.part, solver, side) for part in sheet.done]
    return [None if row is None else rise_of(row) for row in rows]


def _accuracy(sheet: Sheet, solver: str, side: str, when: str) -> float | None:
    rows = [row for part in sheet.done if (row := _row(sheet, part.part, solver, side)) is not None]
    return share(sum(row[f"right {when}"] for row in rows), sum(row["prompts"] for row in rows))


def _solvers(sheet: Sheet) -> list[str]:
    return [solver for solver in SOLVERS if any(value is not None for value in _rises(sheet, solver, "own"))]


def _answer(sheet: Sheet) -> tuple[str, ...]:
    told = []
    for solver in _solvers(sheet):
        own, other = (percent(mean(_rises(sheet, solver, side)), 0) for side in SIDES)
        before, after = (_accuracy(sheet, solver, "own", when) for when in ("before", "after"))
        words = (
            ""
            if before is None or after is None
            else (f"; its prompts are answered rightly {rate(after)} of the time, after {rate(before)}")
        )
        name = SOLVERS[solver].replace("the paper's", "The paper's", 1)
        told.append(f"{name}: perplexity {own} on the relation, {other} on others{words}.")
    return tuple(told)


def _table(sheet: Sheet) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for part in sheet.done:
        for solver in SOLVERS:
            for side, label in SIDES.items():
                row = _row(sheet, part.part, solver, side)
                if row is not None:
                    rows.append(
                        (
                            sheet.about(part.part, "relation"), SOLVERS[solver], label, row["prompts"],
                            exp(row["loss before"]), exp(row["loss after"]), rise_of(row),
                            share(row["right before"], row["prompts"]), share(row["right after"], row["prompts"]),
                            row["neurons"],
                        )
                    )  # fmt: skip
                failure = sheet.row("failures", part.part, solver)
                if row is None and failure is not None and side == "own":
                    rows.append((sheet.about(part.part, "relation"), SOLVERS[solver], failure.texts["reason"],
                                 *[None] * 7))  # fmt: skip
    columns = (
        "relation", "solver", "asked of", "prompts", "perplexity before", "after", "rise", "right before",
        "right after", "value vectors",
    )  # fmt: skip
    return Table("erase", "Before and after erasing a relation", columns, tuple(rows), percent=columns[6:9])


def _whole(sheet: Sheet) -> Bars:
    series = tuple(
        Series(
            SOLVERS[solver],
            tuple(mean(_rises(sheet, solver, side)) for side in SIDES),
            tuple(interval(_rises(sheet, solver, side)) for side in SIDES),
        )
        for solver in _solvers(sheet)
    )
    return Bars(
        "erase", "How much more perplexed the model is after a relation is erased",
        "Relative rise of perplexity, mean over the erased relations with its 95 % interval.",
        groups=tuple(SIDES.values()), series=series, axis="rise of the perplexity", percent=True,
    )  # fmt: skip


def _dots(sheet: Sheet) -> Dots:
    parts = [part.part for part in sheet.done]
    series = []
    for solver in _solvers(sheet):
        for side in SIDES:
            values = tuple(None if (row := _row(sheet, part, solver, side)) is None else rise_of(row) for part in parts)
            series.append(Series(f"{SOLVERS[solver]}, {SIDES[side]}", values))
    return Dots(
        "erase-relations", "The same by relation", "Relative rise of perplexity for each erased relation.",
        rows=tuple(sheet.about(part, "relation") for part in parts), series=tuple(series),
        axis="rise of the perplexity", percent=True,
    )  # fmt: skip
