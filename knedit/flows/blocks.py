"""Blocks of prompts: cut from the whole list of what is wished, and attributed one block a call of the engine.

The cut depends on the list and on nothing else, least of all on what is done already: so a block that is done again
gives the same bits. Knows no catalog; what goes in and comes out are records, fit for another process.
"""

import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import islice

from knedit.attribution.attribute_prompt import Attribution, attribute_queries
from knedit.attribution.base_pass import kind
from knedit.attribution.baselines import BASELINES, Start
from knedit.attribution.method import Method
from knedit.attribution.sigma import choose_sigma
from knedit.errors import ModelError
from knedit.models.model import Model
from knedit.models.precision import tf32_products
from knedit.models.prompting import Query, encode_prompt
from knedit.models.replay import DEFAULT_MEMORY
from knedit.records import Fact, NeuronScore, Prompt, PromptAttribution

Work = Sequence[tuple[Fact, Sequence[Prompt]]]

SCORE_FLOOR = 0.1
SOUNDED = 16  # prompts that choose a smoothing's sigma
WINDOW = 8  # blocks whose prompts are sorted together: enough to fill blocks with prompts of one shape


@dataclass(frozen=True, slots=True)
class Setting:
    """How a run scores: the method, the position whose neurons count, and the precision (`dtype`) of the model."""

    method: Method = field(default_factory=Method)
    position: str = "answer"
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as the model reads it, or the reason why it cannot."""

    prompt_id: int
    fact: str
    query: Query | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Prompts of one call of the engine and one transaction."""

    run_id: int
    method: Method
    asked: tuple[Asked, ...]

    def named(self) -> str:
        """Return the names of the block's facts."""
        return "facts " + ", ".join(dict.fromkeys(one.fact for one in self.asked))


@dataclass(frozen=True, slots=True)
class Found:
    """What a block gave: one attribution a prompt, and the scores kept."""

    attributions: tuple[PromptAttribution, ...]
    scores: tuple[NeuronScore, ...]


@dataclass(frozen=True, slots=True)
class Sounding:
    """A question before the first block: which sigma of a smoothing's noise the prompts bear."""

    method: Method
    queries: tuple[Query, ...]

    def named(self) -> str:
        return "the choice of sigma"


@dataclass(frozen=True, slots=True)
class Sounded:
    """A sounding's answer: the method with its sigma."""

    method: Method


def cut_blocks(
    model: Model,
    work: Work,
    *,
    run_id: int,
    setting: Setting,
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
        asked = [_encode(model, fact, prompt, setting.position) for fact, prompt in window]
        unusable = [one for one in asked if one.query is None]
        usable = sorted((one for one in asked if one.query is not None), key=lambda one: _shape(model, one))
        for part in (unusable, usable):
            for first in range(0, len(part), size):
                block = Block(run_id, setting.method, tuple(part[first : first + size]))
                if any(one.prompt_id not in done for one in block.asked):
                    yield block


def check_position(model: Model, work: Work, position: str) -> None:
    """Raise KneditError where no prompt can have such a position, as its name is none that is known."""
    fact, prompts = work[0]
    _encode(model, fact, prompts[0], position)


def sounding(model: Model, work: Work, setting: Setting) -> Sounding:
    """Return the question for a method whose sigma is open, over the work's first prompts."""
    prompts = ((fact, prompt) for fact, own in work for prompt in own)
    asked = (_encode(model, fact, prompt, setting.position) for fact, prompt in prompts)
    return Sounding(setting.method, tuple(islice((one.query for one in asked if one.query is not None), SOUNDED)))


@dataclass(slots=True)
class Attributor:
    """A model that does what a worker is asked to, with its precision; a method's baseline is made once."""

    model: Model
    memory: int = DEFAULT_MEMORY
    _starts: dict[Method, Start] = field(default_factory=dict)

    def __call__(self, job: Block | Sounding) -> Found | Sounded:
        with tf32_products(self.model.tf32):
            if isinstance(job, Block):
                return attribute_block(self.model, job, memory=self.memory, start=self._start(job.method))
            assert job.method.smoothing is not None
            sigma = choose_sigma(self.model, job.queries, job.method.smoothing, seed=job.method.seed)
            return Sounded(replace(job.method, sigma=sigma))

    def _start(self, method: Method) -> Start | None:
        if method.smoothing is not None:
            return None
        if method not in self._starts:
            self._starts[method] = BASELINES[method.baseline](self.model, method.reference)
        return self._starts[method]


def attribute_block(model: Model, block: Block, *, memory: int, start: Start | None = None) -> Found:
    """Attribute a block's prompts in one call; records in the block's order.

    Raises ModelError, naming the prompt, where a result is no number.
    """
    usable = [one for one in block.asked if one.query is not None]
    queries = [one.query for one in usable if one.query is not None]
    batch = max(1, len(queries))
    found = attribute_queries(model, queries, block.method, memory=memory, batch=batch, start=start)
    attributions = {
        one.prompt_id: PromptAttribution(block.run_id, one.prompt_id, 0.0, None, 0.0, "unusable", one.reason)
        for one in block.asked
    }
    scores: list[NeuronScore] = []
    for one, attribution in zip(usable, found, strict=True):
        _check_finite(model, one, attribution)
        attributions[one.prompt_id] = _outcome(block, one, attribution)
        scores += _coarse(block.run_id, one, attribution)
    return Found(tuple(attributions.values()), tuple(scores))


def _encode(model: Model, fact: Fact, prompt: Prompt, position: str) -> Asked:
    try:
        query = encode_prompt(model, prompt, where=position, subject=fact.subject)
    except ModelError as error:
        return Asked(prompt.id, fact.subject, None, str(error))
    return Asked(prompt.id, fact.subject, query)


def _shape(model: Model, one: Asked) -> tuple[int, ...]:
    assert one.query is not None
    return kind(model, one.query)


def _check_finite(model: Model, one: Asked, attribution: Attribution) -> None:
    if not attribution.scores.isfinite().all() or not math.isfinite(attribution.probability):
        raise ModelError(
            "the scores are not finite numbers",
            f"fact {one.fact}, {model.source}",
            "Weights that hold NaN, or a precision that overflows: try --dtype bfloat16 or float32.",
        )


def _outcome(block: Block, one: Asked, attribution: Attribution) -> PromptAttribution:
    error = float(attribution.completeness_error.max())
    missed = "tolerance" in block.method.settings and attribution.relative_error > block.method.tolerance
    return PromptAttribution(
        block.run_id,
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
