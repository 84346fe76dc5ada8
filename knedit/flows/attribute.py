"""Attribute a checkpoint's facts: take facts and prompts from the catalog, ask the engine, put the scores back.

One transaction a fact: a run that is killed loses at most the fact in hand, and the same command goes on from there.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from knedit.attribution.attribute_prompt import Attribution, attribute_queries
from knedit.attribution.integrated_gradients import DEFAULT_STEPS
from knedit.attribution.method import Method
from knedit.catalog.store import Catalog
from knedit.errors import FactsError, ModelError
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_prompt, usable
from knedit.records import AttributionRun, Checkpoint, Fact, NeuronScore, Prompt, PromptAttribution

logger = logging.getLogger(__name__)

SCORE_FLOOR = 0.1
ENGINE = 1

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What to attribute: some relations (nothing named: all), at most `limit` facts of each, and single facts.

    `wordings` takes at most so many prompts of each fact; `single_token` refuses answers of several tokens.
    """

    relations: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    limit: int | None = None
    wordings: int | None = None
    single_token: bool = False

    @property
    def named(self) -> str:
        return ", ".join((*self.relations, *self.facts)) or "all relations"


@dataclass(frozen=True, slots=True)
class Report:
    """What a call did: facts asked for, found done, done now, and without a prompt that this model can use."""

    run: AttributionRun
    facts: int
    already: int
    attributed: int
    without_prompts: int
    prompts: int
    inexact: int
    unusable: int


def run_config(method: Method, model: Model) -> dict[str, Any]:
    """Return what identifies a run beside its checkpoint: everything that its scores depend on."""
    return {
        "method": "integrated-gradients",
        "rule": method.rule,
        "steps": method.steps or DEFAULT_STEPS[method.rule],
        "tolerance": method.tolerance if method.rule == "adaptive" else None,
        "baseline": "zero",
        "position": "answer",
        "floor": SCORE_FLOOR,
        "dtype": str(model.dtype).removeprefix("torch."),
        "engine": ENGINE,
    }


def attribute(
    catalog: Catalog,
    checkpoint: Checkpoint,
    model: Model,
    *,
    method: Method,
    wish: Wish | None = None,
    progress: Progress | None = None,
) -> Report:
    """Attribute every wished fact that the run has not yet, and report.

    `progress(done, all)` is called after each fact. Raises KneditError before anything is written if there are no
    facts, none can be asked of this model, or an answer has several tokens where one was asked for.
    """
    wish = wish or Wish()
    work, without = _work(catalog, model, wish)
    config = run_config(method, model)
    identity = AttributionRun.identify(checkpoint.id, config)
    now = datetime.now(UTC)
    run = catalog.open_run(AttributionRun(identity, checkpoint.id, config, version("knedit"), now))
    done = catalog.attributed_prompts(run.id)
    outcomes: list[PromptAttribution] = []
    already = 0
    for number, (_, prompts) in enumerate(work, start=1):
        left = [prompt for prompt in prompts if prompt.id not in done]
        already += not left
        if left:
            attributions, scores = _attribute_prompts(model, left, method, run.id)
            catalog.put_attributions(attributions, scores)
            outcomes += attributions
        if progress:
            progress(number, len(work))
    catalog.finish_run(run.id, datetime.now(UTC))
    return Report(
        run,
        facts=len(work) + without,
        already=already,
        attributed=len(work) - already,
        without_prompts=without,
        prompts=len(outcomes),
        inexact=sum(outcome.status == "inexact" for outcome in outcomes),
        unusable=sum(outcome.status == "unusable" for outcome in outcomes),
    )


def _work(catalog: Catalog, model: Model, wish: Wish) -> tuple[list[tuple[Fact, list[Prompt]]], int]:
    """Return the wished facts with the prompts that this model can be asked, and the number of facts without any."""
    facts = _wished_facts(catalog, wish)
    if not facts:
        raise FactsError("there are no facts to attribute", wish.named, "Run: knedit facts import FILE")
    by_fact: dict[int, list[Prompt]] = defaultdict(list)
    for prompt in catalog.prompts([fact.id for fact in facts], roles=("attribute",)):
        if usable(model, prompt) and prompt.status != "retired":
            by_fact[prompt.fact_id].append(prompt)
    able = [(fact, by_fact[fact.id][: wish.wordings]) for fact in facts if by_fact[fact.id]]
    if not able:
        kind = "masked" if model.masked else "encoder–decoder" if model.encoder_decoder else "causal"
        raise FactsError(
            f"none of {len(facts)} facts has a prompt that a {kind} model can be asked",
            wish.named,
            "Add templates that hold {object}; a causal model needs it at their end.",
        )
    if wish.single_token:
        _check_single_tokens(model, able)
    return able, len(facts) - len(able)


def _wished_facts(catalog: Catalog, wish: Wish) -> list[Fact]:
    """Return the facts in the catalog's order, each once, retired ones left out but where named."""
    keys = wish.relations
    if not wish.relations and not wish.facts:
        keys = tuple(relation.key for relation in catalog.relations())
    facts = [catalog.find_fact(reference) for reference in wish.facts]
    for key in keys:
        facts += [fact for fact in catalog.facts(relation=key) if fact.status != "retired"][: wish.limit]
    return list({fact.id: fact for fact in facts}.values())


def _check_single_tokens(model: Model, work: Sequence[tuple[Fact, Sequence[Prompt]]]) -> None:
    for fact, prompts in work:
        for prompt in prompts:
            tokens = len(encode_prompt(model, prompt).answers)
            if tokens != 1:
                raise ModelError(
                    f"the answer {prompt.answer!r} is {tokens} tokens where one was asked for",
                    f"fact {fact.subject}, prompt {prompt.text!r}",
                    "Leave --single-token out, or retire the fact.",
                )


def _attribute_prompts(
    model: Model, prompts: Sequence[Prompt], method: Method, run_id: int
) -> tuple[list[PromptAttribution], list[NeuronScore]]:
    """Attribute one fact's prompts together; records in the order of the prompts."""
    attributions: dict[int, PromptAttribution] = {}
    scores: list[NeuronScore] = []
    asked: list[tuple[Prompt, Query]] = []
    for prompt in prompts:
        try:
            asked.append((prompt, encode_prompt(model, prompt)))
        except ModelError as error:
            logger.warning("Not attributed: %s", error)
            attributions[prompt.id] = PromptAttribution(run_id, prompt.id, 0.0, 0.0, 0.0, "unusable")
    found = attribute_queries(model, [query for _, query in asked], method)
    for (prompt, _), attribution in zip(asked, found, strict=True):
        attributions[prompt.id] = _outcome(run_id, prompt, attribution, method)
        scores += _coarse(run_id, prompt, attribution)
    return [attributions[prompt.id] for prompt in prompts], scores


def _outcome(run_id: int, prompt: Prompt, attribution: Attribution, method: Method) -> PromptAttribution:
    missed = method.rule == "adaptive" and attribution.relative_error > method.tolerance
    return PromptAttribution(
        run_id,
        prompt.id,
        probability=attribution.probability,
        completeness_error=float(attribution.completeness_error.max()),
        peak=float(attribution.scores.max()),
        status="inexact" if missed else "ok",
    )


def _coarse(run_id: int, prompt: Prompt, attribution: Attribution) -> list[NeuronScore]:
    """Return the scores down to a tenth of the prompt's maximum, so that refining again needs no model."""
    peak = float(attribution.scores.max())
    if peak <= 0:
        return []
    layers, indices = (attribution.scores >= SCORE_FLOOR * peak).nonzero(as_tuple=True)
    values = attribution.scores[layers, indices].tolist()
    return [
        NeuronScore(run_id, prompt.id, layer, index, score)
        for layer, index, score in zip(layers.tolist(), indices.tolist(), values, strict=True)
    ]
