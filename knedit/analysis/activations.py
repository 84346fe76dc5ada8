"""How strongly a fact's neurons fire in texts that state the fact, that name its subject alone, and that do neither.

Source: Dai et al., ACL 2022, section 4.2, and their code (4_check_weights_distant.py, 8_plot_fig_distant.py): a
neuron's activation where the hidden word is due, as a mean over texts, then over all neurons of a relation's facts,
then over relations, unweighted. In gated blocks a neuron may hold the fact with a negative activation: beside the
paper's mean stands one in which each counts with the sign that it has at the fact's own prompts.
"""

from collections.abc import Mapping, Sequence

from knedit.analysis.findings import Bars, Dots, Findings, Series, Table, mean, share
from knedit.analysis.intervals import interval
from knedit.analysis.sheet import Notes, Sheet
from knedit.analysis.suppress_amplify import SETS
from knedit.analysis.texts import KINDS
from knedit.models.model import Model
from knedit.models.prompting import Query
from knedit.models.scaling import Place, activations

MEANS = {"plain": "as it is", "aligned": "with its own sign"}


def measure(
    model: Model,
    own: Sequence[Query],
    texts: Mapping[str, Sequence[Query]],
    sets: Mapping[str, Sequence[Place]],
    notes: Notes,
) -> None:
    """Note, for each set of neurons and kind of text, the sum over neurons of their mean activations.

    `own` are the fact's prompts, which tell each neuron's sign.
    """
    places = list(dict.fromkeys(place for some in sets.values() for place in some))
    columns = {place: number for number, place in enumerate(places)}
    signs = activations(model, own, places).mean(0).sign()
    for kind, queries in texts.items():
        means = activations(model, queries, places).mean(0)  # [N]
        for name, some in sets.items():
            chosen = [columns[place] for place in some]
            if chosen:
                notes.add(
                    name, kind, neurons=len(chosen), texts=len(queries), plain=float(means[chosen].sum()),
                    aligned=float((means * signs)[chosen].sum()),
                )  # fmt: skip


def by_relation(sheet: Sheet, name: str, kind: str, metric: str) -> dict[str, float | None]:
    """Return each relation's mean over all neurons of its facts."""
    sums: dict[str, list[float]] = {}
    for row in sheet.rows(name):
        if row.key == kind:
            own = sums.setdefault(sheet.about(row.part, "relation"), [0.0, 0.0])
            own[0] += row[metric]
            own[1] += row["neurons"]
    return {relation: share(total, count) for relation, (total, count) in sorted(sums.items())}


def findings(sheet: Sheet) -> Findings:
    """Return mean activations by kind of text."""
    if not sheet.done:
        return Findings("activations", "When a fact's neurons fire")
    return Findings(
        "activations",
        "When a fact's neurons fire",
        answer=_answer(sheet),
        tables=(_table(sheet), _relations_table(sheet)),
        pictures=(*[_bars(sheet, metric) for metric in MEANS], _dots(sheet)),
        notes=(
            "T1 are texts with subject and object, the object hidden; T2 with the subject alone and T3 with neither, a "
            "word by chance hidden. An activation's scale is the network's own: compare within one model only.",
        ),
        figures={f"activations {kind}": mean(_values(sheet, "neurons", kind, "plain")) for kind in KINDS},
    )


def _values(sheet: Sheet, name: str, kind: str, metric: str) -> list[float | None]:
    return list(by_relation(sheet, name, kind, metric).values())


def _answer(sheet: Sheet) -> tuple[str, ...]:
    told = []
    for metric, words in MEANS.items():
        values = [(kind, mean(_values(sheet, "neurons", kind, metric))) for kind in KINDS]
        known = [(kind, value) for kind, value in values if value is not None]
        ranked = " > ".join(kind for kind, _ in sorted(known, key=lambda one: -one[1]))
        numbers = ", ".join(f"{kind} {value:.3g}" for kind, value in known)
        told.append(f"Mean activation, each neuron {words}: {numbers}; so {ranked}.".replace("-", "−"))
    return tuple(told)


def _table(sheet: Sheet) -> Table:
    rows = []
    for name, label in SETS.items():
        for metric, words in MEANS.items():
            values = [mean(_values(sheet, name, kind, metric)) for kind in KINDS]
            if any(value is not None for value in values):
                rows.append((label, words, *values))
    columns = ("neurons", "activation", *(f"{kind}: {words}" for kind, words in KINDS.items()))
    return Table("activations", "Mean activation by kind of text, over relations", columns, tuple(rows))


def _relations_table(sheet: Sheet) -> Table:
    rows = []
    for name, label in SETS.items():
        for kind in KINDS:
            plain, aligned = (by_relation(sheet, name, kind, metric) for metric in MEANS)
            rows += [(relation, label, kind, value, aligned[relation]) for relation, value in plain.items()]
    columns = ("relation", "neurons", "text", "activation", "with its own sign")
    return Table("activations-relations", "By relation", columns, tuple(rows))


def _bars(sheet: Sheet, metric: str) -> Bars:
    series = []
    for name, label in SETS.items():
        values = [_values(sheet, name, kind, metric) for kind in KINDS]
        series.append(Series(label, tuple(mean(some) for some in values), tuple(interval(some) for some in values)))
    plain = metric == "plain"
    caption = "Mean over relations, with its 95 % interval"
    caption += "." if plain else "; each neuron counts with the sign that it has at the fact's own prompts."
    return Bars(
        f"activations-{metric}", f"Activation of neurons by kind of text{'' if plain else ', each with its own sign'}",
        caption, groups=tuple(f"{kind}:\n{words}" for kind, words in KINDS.items()), series=tuple(series),
        axis="mean activation",
    )  # fmt: skip


def _dots(sheet: Sheet) -> Dots:
    found = {kind: by_relation(sheet, "neurons", kind, "aligned") for kind in KINDS}
    names = list(found["T1"])
    series = tuple(
        Series(f"{kind}: {words}", tuple(found[kind].get(name) for name in names)) for kind, words in KINDS.items()
    )
    return Dots(
        "activations-relations", "Activation of the facts' neurons, by relation",
        "Mean over all neurons of a relation's facts, each with the sign that it has at the fact's own prompts.",
        rows=tuple(names), series=series, axis="mean activation",
    )  # fmt: skip
