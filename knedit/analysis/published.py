"""The numbers that Dai et al. (ACL 2022) report for bert-base-cased, to stand beside one's own.

As later papers quote them; a number that no second source confirms is marked. Their facts are 27,738 of ParaRel in 34
relations; other facts and other models need not agree with them. Knows no experiment: ours come by the same keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from knedit.analysis.findings import HUGE, Cell, Table, huge, percent

SOURCE = 'Dai et al., "Knowledge Neurons in Pretrained Transformers", ACL 2022 (bert-base-cased)'


@dataclass(frozen=True, slots=True)
class Published:
    """One published number: what it says, the number itself or words for several, and how it is told."""

    label: str
    value: float | None
    percent: bool = False
    signed: bool = False
    words: str = ""
    confirmed: bool = True

    def told(self, value: float | None) -> str:
        """Return a value, theirs or ours, in the way of this number."""
        if value is None:
            return "–"
        if self.percent:
            return percent(value) if self.signed else f"{100 * value:.1f} %"
        if value >= HUGE:
            return f"+{huge(value)}" if self.signed else huge(value)
        return (f"{value:+,.2f}" if self.signed else f"{value:,.2f}").replace("-", "−")


PUBLISHED: Mapping[str, Published] = {
    "statistics neurons": Published("Neurons a fact, integrated gradients", 4.13),
    "statistics activation": Published("Neurons a fact, activation baseline", 3.96),
    "statistics neurons within": Published("Shared by two facts of a relation, integrated gradients", 1.23),
    "statistics activation within": Published(
        "Shared by two facts of a relation, activation baseline", 2.85, confirmed=False
    ),
    "statistics neurons across": Published("Shared across relations, integrated gradients", 0.09),
    "statistics activation across": Published("Shared across relations, activation baseline", 1.92),
    "own suppress neurons": Published("Suppressed: change of the probability", -0.2903, percent=True, signed=True),
    "own suppress activation": Published("Suppressed, activation baseline", -0.0147, percent=True, signed=True),
    "own amplify neurons": Published("Amplified: change of the probability", 0.3117, percent=True, signed=True),
    "own amplify activation": Published("Amplified, activation baseline", -0.0127, percent=True, signed=True),
    "activations T1": Published("Mean activation, texts with head and tail (T1)", 0.485),
    "activations T2": Published("Mean activation, texts with the head (T2)", 0.019),
    "activations T3": Published("Mean activation, random texts (T3)", -0.018),
    "update change": Published("Update: change rate", 0.485, percent=True),
    "update success": Published("Update: success rate", 0.344, percent=True),
    "update within": Published("Update: perplexity within the relation", 8.4, signed=True),
    "update across": Published("Update: perplexity of other relations", 7.2, signed=True),
    "update random change": Published("Update of random neurons: change rate", 0.047, percent=True),
    "update random success": Published("Update of random neurons: success rate", 0.0, percent=True),
    "update random within": Published(
        "Update of random neurons: perplexity within the relation", 10.1, signed=True, confirmed=False
    ),
    "update random across": Published("Update of random neurons: perplexity of other relations", 4.3, signed=True),
    "erase own": Published(
        "Erased: perplexity of the relation", None, percent=True, signed=True,
        words="+36.7 % to +141.2 % (4 relations)",
    ),
    "erase other": Published(
        "Erased: perplexity of other relations", None, percent=True, signed=True, words="+1.1 % to +10.1 %"
    ),
}  # fmt: skip


def beside(ours: Mapping[str, float | None], name: str) -> Table | None:
    """Return the published numbers beside ours, in the published order; None where there is none of ours."""
    rows: list[tuple[Cell, ...]] = []
    for key, one in PUBLISHED.items():
        if key in ours:
            theirs = one.words or one.told(one.value)
            rows.append((one.label, theirs if one.confirmed else f"{theirs} *", one.told(ours[key])))
    if not rows:
        return None
    note = "* one source only." if any("*" in str(row[1]) for row in rows) else ""
    return Table("published", "Published, and here", ("", "published, BERT", name), tuple(rows), note=note)


def published(key: str) -> float | None:
    """Return a published number, None where there is none of that key."""
    return PUBLISHED[key].value if key in PUBLISHED else None
