"""Does smoothing replace wordings? Neurons from 1, 2, 4 … wordings, with and without noise, against all wordings.

For each number of wordings some are drawn; the neurons with the largest mean scores over these, as many as all wordings
give without smoothing, are compared with those by the Jaccard index, and by what suppressing them loses of the answer's
probability in other wordings. The smoothing is NoiseGrad: the mean over networks whose weights are multiplied by noise
(Bykov et al., AAAI 2022). Knows no attribution: it is handed scores.

Shapes: W wordings, L layers, F neurons.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence

from torch import Tensor

from knedit.analysis.findings import Findings, Lines, Series, Table, mean, percent
from knedit.analysis.intervals import interval
from knedit.analysis.sheet import Notes, Sheet
from knedit.models.model import Model
from knedit.models.prompting import Query
from knedit.models.scaling import Place, Trial, speak

METHODS = {"plain": "without smoothing", "noisegrad": "with NoiseGrad"}
DRAWS = 4
FEWEST = 4  # wordings of a fact


def jaccard(one: Collection[Place], other: Collection[Place]) -> float:
    """Return the share of all neurons of either set that are in both; 1 where both are empty."""
    either = {*one, *other}
    return len({*one} & {*other}) / len(either) if either else 1.0


def shared_neurons(scores: Sequence[Tensor], *, threshold: float, part: float) -> list[Place]:
    """Return the neurons that reach `threshold` times their wording's maximum in at least `part` of the wordings."""
    counts = sum((one >= threshold * one.max()).int() for one in scores)
    assert not isinstance(counts, int)
    found = (counts >= part * len(scores) - 1e-9).nonzero().tolist()
    return [(int(layer), int(index)) for layer, index in found]


def leading_neurons(scores: Sequence[Tensor], count: int) -> list[Place]:
    """Return so many neurons with the largest mean scores."""
    total = sum(scores)
    assert isinstance(total, Tensor)
    width = total.shape[1]
    return [divmod(int(place), width) for place in total.flatten().topk(count).indices]


def sizes(wordings: int) -> list[int]:
    """Return 1, 2, 4 … below the number of wordings, and that number."""
    return [*[2**power for power in range(20) if 2**power < wordings], wordings]


def measure(
    model: Model, scores: Mapping[str, Sequence[Tensor]], asked: Sequence[Query], *, threshold: float, part: float,
    seed: str, notes: Notes,
) -> None:  # fmt: skip
    """Note how near the neurons of few wordings come to those of all; `scores` [L, F] a wording, by a key of METHODS.

    `asked` are the prompts at which neurons are suppressed.
    """
    wordings = len(scores["plain"])
    reference = shared_neurons(scores["plain"], threshold=threshold, part=part)
    count = max(len(reference), 1)
    leading = leading_neurons(scores["plain"], count)
    base = sum(one.probability for one in speak(model, asked, [Trial(n) for n in range(len(asked))]))
    notes.add("fact", "", wordings=wordings, neurons=len(reference), probability=base / len(asked))
    for method, own in scores.items():
        for size in sizes(wordings):
            sets = [leading_neurons([own[number] for number in drawn], count) for drawn in _drawn(wordings, size, seed)]
            shared = [
                shared_neurons([own[number] for number in drawn], threshold=threshold, part=part)
                for drawn in _drawn(wordings, size, seed)
            ]
            notes.add(
                method, f"{size:02}", jaccard=mean([jaccard(one, leading) for one in sets]),
                shared_jaccard=mean([jaccard(one, reference) for one in shared]),
                lost=mean([_lost(model, asked, one, base) for one in sets]),
            )  # fmt: skip


def _drawn(wordings: int, size: int, seed: str) -> Iterator[list[int]]:
    """Yield the wordings drawn: the same for all methods."""
    chance = random.Random(f"{seed} {size}")  # noqa: S311 - a choice of wordings, no secret
    for _ in range(DRAWS if size < wordings else 1):
        yield sorted(chance.sample(range(wordings), size))


def _lost(model: Model, asked: Sequence[Query], places: Sequence[Place], base: float) -> float | None:
    said = speak(model, asked, [Trial(number, tuple(places)) for number in range(len(asked))])
    return (base - sum(one.probability for one in said)) / base if base else None


def findings(sheet: Sheet) -> Findings:
    """Return the curves, and the answer to the question in plain words."""
    facts = [part.part for part in sheet.done if any(sheet.rows("plain", part.part))]
    if not facts:
        return Findings("noise", "Does smoothing replace wordings?")
    sigma = next((row["sigma"] for row in sheet.rows("sigma")), None)
    return Findings(
        "noise",
        "Does smoothing replace wordings?",
        answer=_answer(sheet),
        tables=(_table(sheet),),
        pictures=(
            _curves(sheet, "jaccard", "noise", "Neurons of few wordings against those of all",
                    "Jaccard index of equally many neurons; 1 is all the same", "Jaccard index"),
            _curves(sheet, "lost", "noise-suppressed", "What suppressing the neurons of few wordings loses",
                    "Lost share of the answer's probability in wordings", "lost of the probability", percent_=True),
        ),
        notes=(
            f"{len(facts)} facts; for each number of wordings {DRAWS} draws. " + (
                "" if sigma is None else f"The weights' noise has σ = {sigma:.2g}, at which answers lose about 5 % of "
                "their probability."),
        ),
    )  # fmt: skip


def _values(sheet: Sheet, method: str, size: int, metric: str) -> list[float | None]:
    return [row.numbers[metric] for row in sheet.rows(method) if row.key == f"{size:02}"]


def _common(sheet: Sheet) -> list[int]:
    """Return the numbers of wordings below all, and the largest, that at least half of the facts have."""
    facts = len({row.part for row in sheet.rows("plain")})
    known = sorted({int(row.key) for row in sheet.rows("plain")})
    return [size for size in known if 2 * len(_values(sheet, "plain", size, "jaccard")) >= facts]


def _answer(sheet: Sheet) -> tuple[str, ...]:
    one, two, smoothed = (
        _values(sheet, method, size, "jaccard") for method, size in (("plain", 1), ("plain", 2), ("noisegrad", 1))
    )
    if not smoothed or None in (mean(one), mean(two), mean(smoothed)):
        return ()
    told = (
        f"One wording finds neurons of Jaccard {mean(one):.2f} with those of all wordings, one smoothed wording "
        f"{mean(smoothed):.2f}, two wordings without smoothing {mean(two):.2f}."
    )
    return told, verdict(one, two, smoothed)


def verdict(one: Sequence[float | None], two: Sequence[float | None], smoothed: Sequence[float | None]) -> str:
    """Return in words whether a smoothed wording does as well as two without smoothing; values are fact by fact."""
    gain = interval([_minus(a, b) for a, b in zip(smoothed, one, strict=True)])
    gap = interval([_minus(a, b) for a, b in zip(smoothed, two, strict=True)])
    if gain is None or gap is None:
        return "There are too few facts for an answer."
    if gap[0] >= 0:
        return "So smoothing replaces at least one wording here."
    if gain[0] > 0:
        return (
            "So smoothing helps, but less than a second wording does."
            if gap[1] < 0
            else ("So smoothing helps; whether as much as a second wording does, these facts do not tell.")
        )
    if gain[1] < 0:
        return "So smoothing does harm here: it replaces no wording."
    return "So smoothing does not replace a wording here: it changes nothing that can be told from chance."


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _table(sheet: Sheet) -> Table:
    rows = []
    for method, label in METHODS.items():
        for size in _common(sheet):
            values = {metric: _values(sheet, method, size, metric) for metric in ("jaccard", "shared jaccard", "lost")}
            low, high = interval(values["jaccard"]) or (None, None)
            rows.append(
                (
                    label, size, len(values["jaccard"]), mean(values["jaccard"]), low, high,
                    mean(values["shared jaccard"]), percent(_negative(mean(values["lost"]))),
                )
            )  # fmt: skip
    columns = (
        "scores", "wordings", "facts", "Jaccard, equally many", "95 % from", "to", "Jaccard, by agreement",
        "suppressed: change of the probability",
    )  # fmt: skip
    return Table("noise", "Neurons of few wordings", columns, tuple(rows))


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _curves(
    sheet: Sheet, metric: str, name: str, title: str, caption: str, axis: str, *, percent_: bool = False
) -> Lines:
    at = _common(sheet)
    series = []
    for method, label in METHODS.items():
        values = [_values(sheet, method, size, metric) for size in at]
        series.append(Series(label, tuple(mean(some) for some in values), tuple(interval(some) for some in values)))
    return Lines(
        name, title, f"{caption}; means over facts with their 95 % intervals.", at=tuple(map(float, at)),
        series=tuple(series), axis=axis, across="wordings", percent=percent_,
    )  # fmt: skip
