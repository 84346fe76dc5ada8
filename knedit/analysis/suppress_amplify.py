"""What the answer's probability becomes when a fact's neurons are set to 0, or doubled, where the answer is due.

All of a fact's neurons at once, at the tokens that predict the answer alone; asked of the fact's own prompts and of a
fact of another relation; with two controls: neurons found by their activation, and as many others of the same layers.
Source: Dai et al., ACL 2022, section 4.2, and their code (3_modify_activation.py, 8_plot_fig_erase_enhance.py): a
relation's change ratio is the mean change of the probability over the mean probability, of all its prompts, whether
their answers are right or not; the headline is the relations' unweighted mean. EleutherAI's library takes the mean of
each prompt's own ratio instead, which is told beside it under another name.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from knedit.analysis.findings import Bars, Dots, Findings, Series, Table, mean, percent, share
from knedit.analysis.intervals import interval
from knedit.analysis.published import published
from knedit.analysis.sheet import Notes, Sheet
from knedit.models.model import Model
from knedit.models.prompting import Query
from knedit.models.scaling import Place, Spoken, Trial, speak

FACTORS = {"suppress": 0.0, "amplify": 2.0}
SIDES = {"own": "the fact itself", "other": "a fact of another relation"}
SETS = {"neurons": "its neurons", "activation": "activation baseline", "random": "random neurons"}
CHANGE, RATIOS = "change ratio", "mean of ratios"


def change_ratio(before: Sequence[float], after: Sequence[float]) -> float | None:
    """Return the mean change over the mean of what it was, as the paper has it."""
    return share(sum(after) - sum(before), sum(before))


def mean_of_ratios(before: Sequence[float], after: Sequence[float]) -> float | None:
    """Return the mean of each value's own relative change; values that were 0 have none."""
    return mean([(now - was) / was for was, now in zip(before, after, strict=True) if was > 0])


def measure(
    model: Model, sides: Mapping[str, Sequence[Query]], sets: Mapping[str, Sequence[Place]], notes: Notes
) -> None:
    """Note what scaling each set of neurons does to the prompts of each side, added up over a side's prompts."""
    for side, queries in sides.items():
        keys = [(name, verb) for name, places in sets.items() if places for verb in FACTORS]
        trials = [Trial(number) for number in range(len(queries))]
        trials += [
            Trial(number, tuple(sets[name]), FACTORS[verb]) for name, verb in keys for number in range(len(queries))
        ]
        said = speak(model, queries, trials)
        before = said[: len(queries)]
        for place, (name, verb) in enumerate(keys, 1):
            after = said[place * len(queries) : (place + 1) * len(queries)]
            _note(notes, f"{side} {verb}", name, before, after)


def _note(notes: Notes, series: str, name: str, before: Sequence[Spoken], after: Sequence[Spoken]) -> None:
    pairs = list(zip(before, after, strict=True))
    ratios = [(now.probability - was.probability) / was.probability for was, now in pairs if was.probability > 0]
    notes.add(
        series,
        name,
        prompts=len(pairs),
        before=sum(was.probability for was, _ in pairs),
        after=sum(now.probability for _, now in pairs),
        ratios=sum(ratios),
        defined=len(ratios),
        flips=sum(was.top != now.top for was, now in pairs),
        correct=sum(was.correct for was, _ in pairs),
        lost=sum(was.correct and not now.correct for was, now in pairs),
        gained=sum(now.correct and not was.correct for was, now in pairs),
    )


Sums = dict[str, float]


def by_relation(sheet: Sheet, series: str, name: str) -> dict[str, Sums]:
    """Return each relation's sums over the prompts of its facts, for one side, verb and set of neurons."""
    found: dict[str, Sums] = {}
    for row in sheet.rows(series):
        if row.key == name:
            sums = found.setdefault(sheet.about(row.part, "relation"), defaultdict(float))
            for metric, value in row.numbers.items():
                sums[metric] += value or 0.0
    return dict(sorted(found.items()))


def ratio_of(sums: Sums) -> float | None:
    """Return a relation's change ratio from its sums."""
    return share(sums["after"] - sums["before"], sums["before"])


def findings(sheet: Sheet) -> Findings:
    """Return change ratios by relation and on the whole, with argmax flips apart."""
    if not sheet.done:
        return Findings("suppress-amplify", "Suppressing and amplifying a fact's neurons")
    return Findings(
        "suppress-amplify",
        "Suppressing and amplifying a fact's neurons",
        answer=_answer(sheet),
        tables=(headline(sheet), _relations_table(sheet)),
        pictures=(_whole(sheet), *[_dots(sheet, verb) for verb in FACTORS]),
        notes=(
            "The change ratio is the paper's: mean change of the answer's probability over its mean, by relation, then "
            "the unweighted mean over relations. The mean of ratios, by prompt, is EleutherAI's; a prompt whose answer "
            "was all but impossible can move it anywhere. A flip is another likeliest token; an answer is lost where "
            "it was the likeliest before and is not after.",
        ),
        figures={
            f"{side} {verb} {name}": mean(_ratios(sheet, f"{side} {verb}", name))
            for side in SIDES
            for verb in FACTORS
            for name in SETS
        },
    )


def headline(sheet: Sheet) -> Table:
    """Return the means over relations, a row a side, verb and set of neurons."""
    rows = []
    for side, whose in SIDES.items():
        for verb in FACTORS:
            for name, label in SETS.items():
                found = by_relation(sheet, f"{side} {verb}", name)
                if not found:
                    continue
                ratios = [ratio_of(sums) for sums in found.values()]
                low, high = interval(ratios) or (None, None)
                every = _added(found.values())
                rows.append(
                    (
                        verb, whose, label, len(found), every["prompts"], share(every["before"], every["prompts"]),
                        mean(ratios), low, high,
                        mean([share(sums["ratios"], sums["defined"]) for sums in found.values()]),
                        share(every["flips"], every["prompts"]), share(every["lost"], every["correct"]),
                    )
                )  # fmt: skip
    columns = (
        "what", "asked of", "scaled", "relations", "prompts", "probability before", CHANGE, "95 % from", "to", RATIOS,
        "argmax flips", "right answers lost",
    )  # fmt: skip
    shown = columns[5:]
    return Table("suppress-amplify", "Means over relations", columns, tuple(rows), percent=shown)


def _added(several: object) -> Sums:
    every: Sums = defaultdict(float)
    for sums in several:  # type: ignore[attr-defined]
        for metric, value in sums.items():
            every[metric] += value
    return every


def _relations_table(sheet: Sheet) -> Table:
    rows = []
    for side, whose in SIDES.items():
        for verb in FACTORS:
            for name, label in SETS.items():
                for relation, sums in by_relation(sheet, f"{side} {verb}", name).items():
                    rows.append(
                        (
                            relation, verb, whose, label, sums["prompts"], share(sums["before"], sums["prompts"]),
                            ratio_of(sums), share(sums["ratios"], sums["defined"]),
                            share(sums["flips"], sums["prompts"]), share(sums["lost"], sums["correct"]),
                        )
                    )  # fmt: skip
    columns = (
        "relation", "what", "asked of", "scaled", "prompts", "probability before", CHANGE, RATIOS, "argmax flips",
        "right answers lost",
    )  # fmt: skip
    return Table("suppress-amplify-relations", "By relation", columns, tuple(rows), percent=columns[5:])


def _ratios(sheet: Sheet, series: str, name: str) -> list[float | None]:
    return [ratio_of(sums) for sums in by_relation(sheet, series, name).values()]


def _answer(sheet: Sheet) -> tuple[str, ...]:
    told = []
    for verb in FACTORS:
        own, other, chance = (
            percent(mean(_ratios(sheet, f"{side} {verb}", name)))
            for side, name in (("own", "neurons"), ("other", "neurons"), ("own", "random"))
        )
        done = "set to 0" if verb == "suppress" else "doubled"
        told.append(
            f"With its neurons {done}, the answer's probability changes by {own} on the fact itself and by {other} on "
            f"a fact of another relation; with as many random neurons of the same layers, by {chance}."
        )
    return tuple(told)


def _whole(sheet: Sheet) -> Bars:
    groups = [(side, verb) for verb in FACTORS for side in SIDES]
    words = {"own": "itself", "other": "another relation's"}
    series = []
    for name, label in SETS.items():
        ratios = [_ratios(sheet, f"{side} {verb}", name) for side, verb in groups]
        series.append(Series(label, tuple(mean(some) for some in ratios), tuple(interval(some) for some in ratios)))
    return Bars(
        "suppress-amplify", "The answer's probability with neurons suppressed and amplified",
        "Change ratio of the answer's probability, mean over relations with its 95 % interval.",
        groups=tuple(f"{verb}:\n{words[side]}" for side, verb in groups), series=tuple(series),
        axis="change of the probability", percent=True,
        marks=tuple(tuple(published(f"{side} {verb} {name}") for side, verb in groups) for name in SETS),
    )  # fmt: skip


def _dots(sheet: Sheet, verb: str) -> Dots:
    names = list(by_relation(sheet, f"own {verb}", "neurons"))
    wanted = [
        *[("own", name, label) for name, label in SETS.items()],
        ("other", "neurons", "its neurons, asked of another fact"),
    ]
    series = []
    for side, name, label in wanted:
        found = by_relation(sheet, f"{side} {verb}", name)
        ratios = [ratio_of(found[key]) if key in found else None for key in names]
        spans: list[tuple[float, float] | None] = [interval(ratios), *[None] * len(names)]
        series.append(Series(label, (mean(ratios), *ratios), tuple(spans)))
    done = "suppressed" if verb == "suppress" else "amplified"
    return Dots(
        verb, f"Neurons {done}, by relation",
        "Change ratio of the answer's probability by relation; at the top the unweighted mean with its 95 % interval.",
        rows=("all relations", *names), series=tuple(series), axis="change of the answer's probability", percent=True,
        heads=1,
    )  # fmt: skip
