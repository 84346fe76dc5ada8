"""Blocks of prompts: cut from the whole list of what is wished, and attributed one block a call of the engine.

The cut depends on the list and on nothing else, least of all on what is done already: so a block that is done again
gives the same bits. Knows no catalog; what goes in and comes out are records, fit for another process.
"""

import math
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice

from knedit.attribution.attribute_prompt import Attribution, Method, attribute_queries
from knedit.errors import ModelError
from knedit.models.model import Model
from knedit.models.precision import tf32_products
from knedit.models.prompting import Query, encode_prompt
from knedit.records import Fact, NeuronScore, Prompt, PromptAttribution

SCORE_FLOOR = 0.1
WINDOW = 8  # blocks whose prompts are sorted together: enough to fill blocks with prompts of one shape


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as the model reads it, or the reason why it cannot."""

    prompt_id: int
    fact: str
    query: Query | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Prompts of one call and one transaction."""

    run_id: int
    asked: tuple[Asked, ...]

    def named(self) -> str:
        """Return the names of the block's facts."""
        return "facts " + ", ".join(dict.fromkeys(one.fact for one in self.asked))


@dataclass(frozen=True, slots=True)
class Found:
    """What a block gave: one attribution a prompt, and the scores kept."""

    attributions: tuple[PromptAttribution, ...]
    scores: tuple[NeuronScore, ...]


def cut_blocks(
    model: Model,
    work: Iterable[tuple[Fact, Sequence[Prompt]]],
    *,
    run_id: int,
    size: int,
    done: Set[int] = frozenset(),
) -> Iterator[Block]:
    """Yield the work's prompts in blocks of `size`, in order but for sorting by shape within a window of blocks.

    Prompts that the model cannot read or say come in blocks of their own. Blocks whose prompts are all `done` are
    left out; the others stay as they are.
    """
    prompts = ((fact, prompt) for fact, own in work for prompt in own)
    while window := list(islice(prompts, WINDOW * size)):
        if all(prompt.id in done for _, prompt in window):
            continue
        asked = [_encode(model, fact, prompt) for fact, prompt in window]
        unusable = [one for one in asked if one.query is None]
        usable = sorted((one for one in asked if one.query is not None), key=lambda one: _shape(model, one))
        for part in (unusable, usable):
            for first in range(0, len(part), size):
                block = Block(run_id, tuple(part[first : first + size]))
                if any(one.prompt_id not in done for one in block.asked):
                    yield block


def attribute_block(model: Model, block: Block, *, method: Method, memory: int) -> Found:
    """Attribute a block's prompts in one call; records in the block's order.

    Raises ModelError, naming the prompt, where a result is no number.
    """
    usable = [one for one in block.asked if one.query is not None]
    queries = [one.query for one in usable if one.query is not None]
    with tf32_products(model.tf32):
        found = attribute_queries(model, queries, method, memory=memory)
    attributions = {
        one.prompt_id: PromptAttribution(block.run_id, one.prompt_id, 0.0, None, 0.0, "unusable", one.reason)
        for one in block.asked
    }
    scores: list[NeuronScore] = []
    for one, attribution in zip(usable, found, strict=True):
        _check_finite(model, one, attribution)
        attributions[one.prompt_id] = _outcome(block.run_id, one, attribution, method)
        scores += _coarse(block.run_id, one, attribution)
    return Found(tuple(attributions.values()), tuple(scores))


def _encode(model: Model, fact: Fact, prompt: Prompt) -> Asked:
    try:
        return Asked(prompt.id, fact.subject, encode_prompt(model, prompt))
    except ModelError as error:
        return Asked(prompt.id, fact.subject, None, str(error))


def _shape(model: Model, one: Asked) -> tuple[int, ...]:
    """Return what the engine groups by: a causal model's prompts go together whatever their length."""
    assert one.query is not None
    answers = len(one.query.answers)
    return (answers, len(one.query.tokens), *one.query.positions) if model.masked else (answers,)


def _check_finite(model: Model, one: Asked, attribution: Attribution) -> None:
    if not attribution.scores.isfinite().all() or not math.isfinite(attribution.probability):
        raise ModelError(
            "the scores are not finite numbers",
            f"fact {one.fact}, {model.source}",
            "Weights that hold NaN, or a precision that overflows: try --dtype bfloat16 or float32.",
        )


def _outcome(run_id: int, one: Asked, attribution: Attribution, method: Method) -> PromptAttribution:
    error = float(attribution.completeness_error.max())
    missed = method.rule == "adaptive" and attribution.relative_error > method.tolerance
    return PromptAttribution(
        run_id,
        one.prompt_id,
        probability=attribution.probability,
        completeness_error=None if math.isnan(error) else error,
        peak=float(attribution.scores.max()),
        status="inexact" if missed else "ok",
    )


def _coarse(run_id: int, one: Asked, attribution: Attribution) -> list[NeuronScore]:
    """Return the scores down to a tenth of the prompt's maximum, so that refining again needs no model."""
    peak = float(attribution.scores.max())
    if peak <= 0:
        return []
    layers, indices = (attribution.scores >= SCORE_FLOOR * peak).nonzero(as_tuple=True)
    values = attribution.scores[layers, indices].tolist()
    return [
        NeuronScore(run_id, one.prompt_id, layer, index, score)
        for layer, index, score in zip(layers.tolist(), indices.tolist(), values, strict=True)
    ]
