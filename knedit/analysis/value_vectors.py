"""What a fact's neurons say and what they listen to: value vectors read in words, and tokens of texts that excite them.

A feed-forward block is a memory of keys and values: a neuron's key decides when it fires, its value vector what it then
adds. In gated blocks a neuron that fires negatively at the fact's prompts says the opposite of its value vector; it is
read with that sign. Source: Geva et al., "Transformer Feed-Forward Layers Are Key-Value Memories" (EMNLP 2021) and
"… Build Predictions by Promoting Concepts in the Vocabulary Space" (EMNLP 2022).

Shapes: N neurons, D hidden, V vocabulary.
"""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from knedit.analysis.findings import Cell, Findings, Lines, Series, Table, share
from knedit.analysis.sheet import Notes, Row, Sheet
from knedit.analysis.vocabulary_reading import Reading, read_values
from knedit.models.model import Model
from knedit.models.prompting import Query
from knedit.models.scaling import Place, activations
from knedit.models.token_activations import token_activations
from knedit.models.token_texts import token_pieces

TOP, EXCITING, BEFORE = 10, 5, 6  # tokens of a reading, tokens that excite a neuron, and those told before one
REACH = (1, 10, 100, 1000)
_MEMORY = 2**28
_AT_ONCE = 4096


def measure(
    model: Model, own: Sequence[Query], texts: Sequence[Query], places: Sequence[Place], random: Sequence[Place],
    notes: Notes,
) -> None:  # fmt: skip
    """Note each neuron's reading, the rank of the fact's answer in it, and the tokens of texts that excite it most.

    Of `random` neurons the ranks alone. The answer is its first token.
    """
    both = [*places, *random]
    signs = activations(model, own, both).mean(0).sign()
    signs[signs == 0] = 1  # a neuron that never fires still has a value vector, which says what it would
    ranks = answer_ranks(model, both, signs, own[0].answers[0])
    readings = [one for some in read_values(model, list(places), top=TOP, memory=_MEMORY) for one in some]
    fired = token_activations(model, texts, places)
    pieces = [token_pieces(model, query.tokens) for query in texts]
    for number, (reading, sign) in enumerate(zip(readings, signs.tolist(), strict=False)):
        key = "{}:{}".format(*reading.place)
        notes.add("neurons", key, rank=ranks[number], sign=sign)
        notes.say("neurons", key, "says", json.dumps(_said(reading, sign), ensure_ascii=False))
        exciting = _exciting(model, [one[:, number] * (sign or 1.0) for one in fired], pieces)
        notes.say("neurons", key, "excited by", json.dumps(exciting, ensure_ascii=False))
    for number, place in enumerate(random, len(places)):
        notes.add("random", "{}:{}".format(*place), rank=ranks[number])


@torch.no_grad()
def answer_ranks(model: Model, places: Sequence[Place], signs: Tensor, answer: int) -> list[int]:
    """Return the rank from 1 of a token among all tokens that each value vector, with its sign, promotes."""
    values = torch.stack([model.value_vectors(layer, [index])[0].float() for layer, index in places])
    values = values * signs.to(values.device)[:, None]
    own = values @ model.output_embeddings(answer, answer + 1).float().T.to(values.device)  # [N, 1]
    above = torch.zeros(len(places), dtype=torch.long, device=values.device)
    for first in range(0, model.n_embeddings, _AT_ONCE):
        rows = model.output_embeddings(first, min(first + _AT_ONCE, model.n_embeddings)).float()
        higher = values @ rows.T.to(values.device) > own
        if first <= answer < first + len(rows):
            higher[:, answer - first] = False  # by rounding it may be above itself
        above += higher.sum(1)
    return [int(rank) + 1 for rank in above]


def _said(reading: Reading, sign: float) -> list[str]:
    return [token for token, _ in (reading.bottom if sign < 0 else reading.top)]


def _exciting(model: Model, fired: Sequence[Tensor], pieces: Sequence[Sequence[str]]) -> list[list[object]]:
    """Return the tokens at which a neuron fires most, each once a text, with the words before it and its activation."""
    best = []
    for text, values in enumerate(fired):
        first = 0 if model.masked or len(values) == 1 else 1  # a causal model's first token is no other token's measure
        place = first + int(values[first:].argmax())
        best.append((float(values[place]), text, place))
    best.sort(key=lambda one: (-one[0], one[1]))
    return [
        ["".join(pieces[text][max(0, place - BEFORE) : place]), pieces[text][place], round(value, 4)]
        for value, text, place in best[:EXCITING]
    ]


def findings(sheet: Sheet) -> Findings:
    """Return how often a fact's neurons promote its answer, and each neuron's words."""
    if not sheet.done:
        return Findings("values", "What the neurons say, and what they listen to")
    own, chance = best_ranks(sheet, "neurons"), best_ranks(sheet, "random")
    told = [
        f"For {sum(rank <= TOP for rank in ranks)} of {len(ranks)} facts the answer is among the {TOP} tokens that "
        f"at least one of {whose} promotes most."
        for ranks, whose in ((own, "its neurons"), (chance, "as many random neurons"))
        if ranks
    ]
    return Findings(
        "values",
        "What the neurons say, and what they listen to",
        answer=tuple(told),
        tables=(_table(sheet),),
        pictures=(_reach(own, chance),),
        notes=(
            "A value vector is read by its inner product with output embeddings, with the sign that its neuron has at "
            "the fact's prompts. What excites a neuron is searched in some texts only; the last word is the token.",
        ),
    )


def best_ranks(sheet: Sheet, series: str) -> list[int]:
    """Return, for each fact, the best rank of its answer among its neurons."""
    best: dict[str, int] = {}
    for row in sheet.rows(series):
        best[row.part] = min(best.get(row.part, int(row["rank"])), int(row["rank"]))
    return list(best.values())


def _table(sheet: Sheet) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            sheet.about(row.part, "named"), row.key, row["rank"], ", ".join(map(str.strip, _list(row, "says"))),
            "; ".join(f"{before}[{token.strip()}]" for before, token, _ in _list(row, "excited by")[:3]),
        )
        for row in sheet.rows("neurons")
    ]  # fmt: skip
    columns = ("fact", "neuron", "rank of the answer", "says", "excited by")
    return Table("values", "Neurons in words", columns, tuple(rows))


def _list(row: Row, metric: str) -> list[Any]:
    found: list[Any] = json.loads(row.texts[metric])
    return found


def _reach(own: Sequence[int], chance: Sequence[int]) -> Lines:
    series = tuple(
        Series(label, tuple(share(sum(rank <= most for rank in ranks), len(ranks)) for most in REACH))
        for label, ranks in (("its neurons", own), ("random neurons", chance))
    )
    return Lines(
        "values", "Facts whose answer a neuron of theirs promotes",
        "Share of facts whose answer is among so many tokens that at least one of the neurons promotes most.",
        at=tuple(map(float, range(len(REACH)))), series=series, axis="share of facts", across="tokens",
        words=tuple(f"{most:,}" for most in REACH), percent=True,
    )  # fmt: skip
