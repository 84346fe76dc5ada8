"""The texts in which a fact's neurons fire most, and least, with the tokens at which they do.

A text's score is the sum of the neurons' activations where its hidden word is due; in gated blocks each counts with the
sign that it has at the fact's own prompts. Source: Dai et al., ACL 2022, section 4.2, and their code
(5_find_trigger_examples.py), which sums activations as they are and looks at texts with subject and object alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from knedit.analysis.findings import Findings, MarkedText, Table, rate
from knedit.analysis.sheet import Notes, Row, Sheet
from knedit.models.model import Model
from knedit.models.prompting import Query
from knedit.models.scaling import Place, activations
from knedit.models.token_activations import token_activations
from knedit.models.token_texts import token_pieces

SHOWN = 5  # texts of each end
FACTS = 6  # whose texts a page shows
ENDS = {"top": "fire most in", "bottom": "fire least in"}


@dataclass(frozen=True, slots=True)
class Read:
    """A text as the model reads it, and its kind (T1, T2, T3)."""

    kind: str
    query: Query


def measure(model: Model, own: Sequence[Query], texts: Sequence[Read], places: Sequence[Place], notes: Notes) -> None:
    """Note the texts with the largest and the smallest scores, with each token's strength."""
    signs = activations(model, own, places).mean(0).sign()
    scores = (activations(model, [text.query for text in texts], places) * signs).sum(1)
    order = sorted(range(len(texts)), key=lambda number: (-float(scores[number]), number))
    count = min(SHOWN, len(order) // 2)
    ends = {"top": order[:count], "bottom": order[len(order) - count :][::-1]}
    shown = [number for numbers in ends.values() for number in numbers]
    strengths = [(one * signs).sum(1) for one in token_activations(model, [texts[n].query for n in shown], places)]
    largest = max((float(one[1:].abs().max()) for one in strengths if len(one) > 1), default=0.0) or 1.0
    by_text = dict(zip(shown, strengths, strict=True))
    for end, numbers in ends.items():
        for rank, number in enumerate(numbers, 1):
            words = token_pieces(model, texts[number].query.tokens)
            marks = [max(-1.0, min(1.0, float(value) / largest)) for value in by_text[number]]
            marks[0] = 0.0 if not model.masked else marks[0]  # a causal model's first token is no other token's measure
            pairs = [[word, round(mark, 4)] for word, mark in zip(words, marks, strict=True)]
            notes.add(end, f"{rank:02}", score=float(scores[number]))
            notes.say(end, f"{rank:02}", "kind", texts[number].kind)
            notes.say(end, f"{rank:02}", "tokens", json.dumps(pairs, ensure_ascii=False))
    notes.add("texts", "", texts=len(texts), mean=float(scores.mean()), spread=float(scores.std(unbiased=False)))


def findings(sheet: Sheet) -> Findings:
    """Return the trigger texts of all facts as a table, and of some as marked texts."""
    if not sheet.done:
        return Findings("triggers", "Texts in which a fact's neurons fire")
    stated = [row.texts["kind"] == "T1" for row in sheet.rows("top")]
    first = [sheet.row("top", part.part, "01") for part in sheet.done]
    leading = [row.texts["kind"] == "T1" for row in first if row is not None]
    return Findings(
        "triggers",
        "Texts in which a fact's neurons fire",
        answer=(
            f"Of the texts in which a fact's neurons fire most, {rate(sum(stated) / max(len(stated), 1))} state the "
            f"fact; for {sum(leading)} of {len(leading)} facts, the very first does.",
        ),
        tables=(_table(sheet),),
        texts=tuple(_marked(sheet)),
        notes=(
            "A token is the darker the more the fact's neurons fire at it, blue where they do as at the fact's own "
            "prompts, orange where they do the opposite. The text is as the model reads it, the hidden word left out.",
        ),
    )


def _table(sheet: Sheet) -> Table:
    rows = [
        (sheet.about(row.part, "named"), end, row["score"], row.texts["kind"], "".join(word for word, _ in _pairs(row)))
        for end in ENDS
        for row in sheet.rows(end)
    ]
    return Table("triggers", "Texts by activation", ("fact", "end", "score", "kind", "text"), tuple(rows))


def _marked(sheet: Sheet) -> list[MarkedText]:
    found = []
    for part in sheet.done[:FACTS]:
        for end, words in ENDS.items():
            for row in list(sheet.rows(end, part.part))[:2]:
                head = f"{sheet.about(part.part, 'named')} – {words} ({row.texts['kind']}, {row['score']:.2g}):"
                found.append(MarkedText(head.replace("-", "−"), tuple(_pairs(row))))
    return found


def _pairs(row: Row) -> list[tuple[str, float]]:
    return [(str(word), float(mark)) for word, mark in json.loads(row.texts["tokens"])]
