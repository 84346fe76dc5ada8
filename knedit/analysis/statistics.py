"""How many neurons facts have, in which layers they lie, and how many of them two facts share.

Pure counting: knows no model. Source: Dai et al., ACL 2022, sections 4.1 and 4.2, and their code (2_analyze_kn.py):
facts without neurons count as zero, the intersection is a mean over pairs of facts, pooled over relations. The code
draws 100 facts of other relations for each fact; here all pairs are counted.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from knedit.analysis.findings import Bars, Dots, Findings, Heat, Series, Table, mean
from knedit.analysis.intervals import interval
from knedit.analysis.published import published
from knedit.analysis.sheet import Notes, Row, Sheet

Place = tuple[int, int]

METHODS = {"neurons": "integrated gradients", "activation": "activation baseline"}
MOST = 12  # of a histogram's bars: more neurons a fact go together
SHOWN, BETWEEN = 40, " | "  # relations of a table of shades, and what parts two of them in a key


@dataclass(frozen=True, slots=True)
class FactNeurons:
    """A fact's relation and its neurons, by whatever method."""

    relation: str
    neurons: frozenset[Place]


@dataclass(frozen=True, slots=True)
class Overlap:
    """The mean number of neurons that two facts share, over all pairs in a relation, and across; None without pairs."""

    within: float | None
    across: float | None


def overlap(facts: Sequence[FactNeurons]) -> Overlap:
    """Return the mean intersections, each pair of facts counted once; linear in the number of neurons."""
    sizes = Counter(fact.relation for fact in facts)
    held: dict[Place, Counter[str]] = defaultdict(Counter)
    for fact in facts:
        for place in fact.neurons:
            held[place][fact.relation] += 1
    within = sum(n * (n - 1) // 2 for users in held.values() for n in users.values())
    every = sum(users.total() * (users.total() - 1) // 2 for users in held.values())
    pairs = sum(n * (n - 1) // 2 for n in sizes.values())
    all_pairs = sizes.total() * (sizes.total() - 1) // 2
    return Overlap(
        within / pairs if pairs else None,
        (every - within) / (all_pairs - pairs) if all_pairs > pairs else None,
    )


def shared_matrix(facts: Sequence[FactNeurons]) -> dict[tuple[str, str], float | None]:
    """Return the mean number of neurons that facts of two relations share, of each two relations and each with itself.

    None for a relation of one fact with itself.
    """
    sizes = Counter(fact.relation for fact in facts)
    shared: Counter[tuple[str, str]] = Counter()
    held: dict[Place, Counter[str]] = defaultdict(Counter)
    for fact in facts:
        for place in fact.neurons:
            held[place][fact.relation] += 1
    for users in held.values():
        ranked = sorted(users)
        for number, one in enumerate(ranked):
            shared[one, one] += users[one] * (users[one] - 1) // 2
            for other in ranked[number + 1 :]:
                shared[one, other] += users[one] * users[other]
    names = sorted(sizes)
    pairs = {(a, b): sizes[a] * sizes[b] for n, a in enumerate(names) for b in names[n + 1 :]}
    pairs |= {(a, a): sizes[a] * (sizes[a] - 1) // 2 for a in names}
    return {pair: shared[pair] / count if count else None for pair, count in sorted(pairs.items())}


def layer_shares(facts: Sequence[FactNeurons], n_layers: int) -> list[float]:
    """Return each layer's share of all pairs of a fact and a neuron of it."""
    counts = Counter(layer for fact in facts for layer, _ in fact.neurons)
    return [counts[layer] / max(counts.total(), 1) for layer in range(n_layers)]


def count_facts(
    notes: Notes, by_method: Mapping[str, Sequence[FactNeurons]], prompts: Mapping[str, int], n_layers: int
) -> None:
    """Note the statistics of facts by method (a key of METHODS, which know the same facts in one order).

    `prompts` is the number of prompts of each relation.
    """
    for method, facts in by_method.items():
        found = overlap(facts)
        sizes = [len(fact.neurons) for fact in facts]
        notes.add(
            "method", method, facts=len(facts), neurons=mean(sizes), without=sum(not size for size in sizes),
            within=found.within, across=found.across,
        )  # fmt: skip
        if method == "neurons" and len({fact.relation for fact in facts}) <= SHOWN:
            for (one, other), value in shared_matrix(facts).items():
                notes.add("shared", f"{one}{BETWEEN}{other}", mean=value)
        for layer, part in enumerate(layer_shares(facts, n_layers)):
            notes.add("layers", f"{layer:03}", **{method: part})
        for size, count in sorted(Counter(min(size, MOST) for size in sizes).items()):
            notes.add("sizes", f"{size:02}", **{method: count})
        by_relation: dict[str, list[FactNeurons]] = defaultdict(list)
        for fact in facts:
            by_relation[fact.relation].append(fact)
        for relation, own in sorted(by_relation.items()):
            low, high = interval([len(fact.neurons) for fact in own]) or (None, None)
            notes.add(
                "relations", f"{relation} {method}", facts=len(own), prompts=prompts.get(relation),
                neurons=mean([len(fact.neurons) for fact in own]), low=low, high=high,
                without=sum(not fact.neurons for fact in own), within=overlap(own).within,
            )  # fmt: skip


def findings(sheet: Sheet) -> Findings:
    """Return statistics as tables and pictures."""
    methods = _methods(sheet)
    if not methods:
        return Findings("statistics", "Statistics")
    own = methods["neurons"]
    return Findings(
        "statistics",
        "How many neurons, where, and shared by whom",
        answer=_answer(sheet),
        tables=(_methods_table(sheet), _relations_table(sheet)),
        pictures=(_layers(sheet), _shared(sheet), *_matrix(sheet), _relations(sheet), _sizes(sheet)),
        notes=(f"{own['without']:.0f} of {own['facts']:.0f} facts have no neuron; they count as 0.",),
        figures={
            f"statistics {key}{end}": row.numbers[metric]
            for key, row in methods.items()
            for end, metric in (("", "neurons"), (" within", "within"), (" across", "across"))
        },
    )


def _methods(sheet: Sheet) -> dict[str, Row]:
    found = {row.key: row for row in sheet.rows("method")}
    return {method: found[method] for method in METHODS if method in found}


def _answer(sheet: Sheet) -> tuple[str, ...]:
    told = [
        f"{row['relations']:,.0f} relations with {row['facts']:,.0f} facts in {row['prompts']:,.0f} prompts; "
        f"{_methods(sheet)['neurons']['facts']:,.0f} facts are refined."
        for row in sheet.rows("catalog")
    ]
    for row in _methods(sheet).values():
        within, across = row.numbers["within"], row.numbers["across"]
        shared = "" if within is None else f"; two facts of a relation share {within:.2f}"
        shared += "" if across is None else f", two of different relations {across:.2f}"
        told.append(f"{METHODS[row.key].capitalize()}: {row['neurons']:.2f} neurons a fact{shared}.")
    return tuple(told)


def _methods_table(sheet: Sheet) -> Table:
    rows = tuple(
        (
            METHODS[row.key], row["facts"], row.numbers["neurons"], row["without"],
            row.numbers["within"], row.numbers["across"],
        )
        for row in _methods(sheet).values()
    )  # fmt: skip
    columns = ("method", "facts", "neurons a fact", "facts without", "shared within a relation", "shared across")
    return Table("statistics", "Neurons a fact, and shared by two facts", columns, rows)


def _relations_table(sheet: Sheet) -> Table:
    rows = []
    for row in sheet.rows("relations"):
        relation, _, method = row.key.rpartition(" ")
        rows.append(
            (relation, METHODS[method], row["facts"], row.numbers["prompts"], row.numbers["neurons"], row["without"],
             row.numbers["within"])
        )  # fmt: skip
    columns = ("relation", "method", "facts", "prompts", "neurons a fact", "facts without", "shared within")
    return Table("statistics-relations", "The same by relation", columns, tuple(rows))


def _layers(sheet: Sheet) -> Bars:
    rows = list(sheet.rows("layers"))
    series = tuple(
        Series(METHODS[method], tuple(row.numbers.get(method) for row in rows))
        for method in METHODS
        if any(method in row.numbers for row in rows)
    )
    return Bars(
        "layers", "Where the neurons lie",
        "Share of all pairs of a fact and a neuron of it that lie in a layer, the lowest layer at the left.",
        groups=tuple(str(int(row.key)) for row in rows), series=series, axis="share of neurons", percent=True,
        across="layer (from 0)", named=False,
    )  # fmt: skip


def _shared(sheet: Sheet) -> Bars:
    rows = list(_methods(sheet).values())
    groups = ("two facts of a relation", "two facts of different relations")
    series = tuple(Series(METHODS[row.key], (row.numbers["within"], row.numbers["across"])) for row in rows)
    caption = "Mean number of neurons that two facts share, over all pairs of facts."
    marks = tuple(tuple(published(f"statistics {row.key} {where}") for where in ("within", "across")) for row in rows)
    return Bars(
        "overlap", "Neurons that two facts share", caption, groups=groups, series=series, axis="shared neurons",
        marks=marks,
    )  # fmt: skip


def _matrix(sheet: Sheet) -> list[Heat]:
    known = {tuple(row.key.split(BETWEEN)): row.numbers["mean"] for row in sheet.rows("shared")}
    names = tuple(dict.fromkeys(name for pair in known for name in pair))
    if len(names) <= 1:
        return []
    values = tuple(tuple(known.get((min(a, b), max(a, b))) for b in names) for a in names)
    caption = "Mean number of neurons that a fact of one relation and a fact of another share, by integrated gradients."
    return [
        Heat(
            "shared", "Neurons that facts of two relations share", caption, rows=names, columns=names, values=values,
            shade="shared neurons",
        )
    ]  # fmt: skip


def _relations(sheet: Sheet) -> Dots:
    names = list(dict.fromkeys(row.key.rpartition(" ")[0] for row in sheet.rows("relations")))
    known = {row.key: row for row in sheet.rows("relations")}
    series = []
    for method, label in METHODS.items():
        rows = [known.get(f"{name} {method}") for name in names]
        if any(rows):
            series.append(
                Series(
                    label,
                    tuple(None if row is None else row.numbers["neurons"] for row in rows),
                    tuple(
                        None if row is None or row.numbers["low"] is None else (row["low"], row["high"]) for row in rows
                    ),
                )
            )
    caption = "Mean number of neurons of a relation's facts, with its 95 % interval over facts."
    return Dots(
        "neurons-a-fact", "Neurons a fact, by relation", caption, rows=tuple(names), series=tuple(series),
        axis="neurons a fact",
    )  # fmt: skip


def _sizes(sheet: Sheet) -> Bars:
    known = {int(row.key): row.numbers for row in sheet.rows("sizes")}
    sizes = range(max(known, default=0) + 1)
    series = tuple(
        Series(label, tuple(known.get(size, {}).get(method) or 0.0 for size in sizes))
        for method, label in METHODS.items()
        if any(method in numbers for numbers in known.values())
    )
    groups = tuple(f"{size}+" if size == MOST else str(size) for size in sizes)
    return Bars(
        "sizes", "Facts by their number of neurons", "How many facts have so many neurons.", groups=groups,
        series=series, axis="facts", across="neurons", named=False,
    )  # fmt: skip
