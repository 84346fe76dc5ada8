"""Attribute a checkpoint's facts: take facts and prompts from the catalog, ask the engine, put the scores back.

One transaction a block of prompts, written by this process alone: a run that is killed loses at most the blocks in
hand, and the same command goes on from there to the same scores.
"""

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version

from knedit.attribution.method import Method
from knedit.catalog.store import Catalog
from knedit.errors import FactsError, ModelError
from knedit.flows.blocks import (
    Attributor,
    Block,
    Found,
    Setting,
    Sounded,
    Sounding,
    Work,
    check_position,
    cut_blocks,
    sounding,
)
from knedit.flows.configuration import run_config
from knedit.flows.curate import facts_in_use
from knedit.flows.tally import Standing, Tally
from knedit.flows.workers import Pool, Serial
from knedit.models.model import Model
from knedit.models.prompting import encode_prompt, usable
from knedit.records import AttributionRun, Checkpoint, Config, Fact, Prompt, show_id

logger = logging.getLogger(__name__)

DEFAULT_BATCH = 16

Attributors = Pool[Block | Sounding, Found | Sounded]
Progress = Callable[[Standing], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What to attribute: some relations, saved selections and single facts; nothing named: all relations.

    `limit` takes at most so many facts of each relation, and of each relation in a selection. `wordings` takes at
    most so many prompts of each fact; `single_token` refuses answers of several tokens.
    """

    relations: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    limit: int | None = None
    wordings: int | None = None
    single_token: bool = False
    selections: tuple[str, ...] = ()

    @property
    def named(self) -> str:
        return ", ".join((*self.relations, *self.selections, *self.facts)) or "all relations"


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


def attribute(
    catalog: Catalog,
    checkpoint: Checkpoint,
    model: Model,
    *,
    method: Method,
    position: str = "answer",
    wish: Wish | None = None,
    batch: int = DEFAULT_BATCH,
    pool: Attributors | None = None,
    progress: Progress | None = None,
) -> Report:
    """Attribute every wished fact that the run has not yet, and report.

    `model` reads the prompts and, without a `pool`, does the work too; `batch` is the number of prompts of a block.
    `progress` is called at the start and after each block. Raises KneditError before anything is written if there are
    no facts, none can be asked of this model, or an answer has several tokens where one was asked for.
    """
    work, without = _work(catalog, model, wish or Wish())
    check_position(model, work, position)
    pool = pool or Serial(Attributor(model))
    setting = _settled(Setting(method, position, model.precision), model, work, pool)
    run = _open_run(catalog, checkpoint, run_config(setting, model))
    tally = Tally(work, catalog.attributed_prompts(run.id))
    already = tally.facts_done
    tell = progress or (lambda _: None)
    tell(tally.standing())
    blocks = cut_blocks(model, work, run_id=run.id, setting=setting, size=batch, done=tally.done)
    for _, found in pool.results(blocks):
        assert isinstance(found, Found)
        new = tally.new(found)
        catalog.put_attributions(new.attributions, new.scores)
        tally.add(new.attributions)
        tell(tally.standing())
    catalog.finish_run(run.id, datetime.now(UTC))
    return Report(
        run,
        facts=len(work) + without,
        already=already,
        attributed=len(work) - already,
        without_prompts=without,
        prompts=tally.prompts_now,
        inexact=tally.statuses["inexact"],
        unusable=tally.statuses["unusable"],
    )


def _settled(setting: Setting, model: Model, work: Work, pool: Attributors) -> Setting:
    """Return the setting with nothing left open: a smoothing's sigma is chosen on the wish's first prompts."""
    if setting.method.smoothing is None or setting.method.sigma is not None:
        return setting
    ((_, answer),) = pool.results([sounding(model, work, setting)])
    assert isinstance(answer, Sounded)
    logger.info("Smoothing with sigma %g; name it with --sigma to add other facts to this run.", answer.method.sigma)
    return replace(setting, method=answer.method)


def _open_run(catalog: Catalog, checkpoint: Checkpoint, config: Config) -> AttributionRun:
    identity = AttributionRun.identify(checkpoint.id, config)
    return catalog.open_run(AttributionRun(identity, checkpoint.id, config, version("knedit"), datetime.now(UTC)))


def _work(catalog: Catalog, model: Model, wish: Wish) -> tuple[Work, int]:
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
    """Return the facts in the catalog's order, each once, retired ones left out; raise FactsError for one by name."""
    keys = wish.relations
    if not wish.relations and not wish.facts and not wish.selections:
        keys = tuple(relation.key for relation in catalog.relations())
    facts = [catalog.find_fact(reference) for reference in wish.facts]
    if retired := [fact for fact in facts if fact.status == "retired"]:
        raise FactsError(
            f"the fact {retired[0].subject} – {retired[0].object} is retired",
            wish.named,
            f"Leave it out, or bring it back: knedit facts status {show_id(retired[0].id)} proposed",
        )
    for key in keys:
        facts += [fact for fact in catalog.facts(relation=key) if fact.status != "retired"][: wish.limit]
    for name in wish.selections:
        by_relation: dict[int, list[Fact]] = defaultdict(list)
        for fact in facts_in_use(catalog, name):
            by_relation[fact.relation_id].append(fact)
        facts += [fact for some in by_relation.values() for fact in some[: wish.limit]]
    return list({fact.id: fact for fact in facts}.values())


def _check_single_tokens(model: Model, work: Work) -> None:
    for fact, prompts in work:
        for prompt in prompts:
            tokens = len(encode_prompt(model, prompt).answers)
            if tokens != 1:
                raise ModelError(
                    f"the answer {prompt.answer!r} is {tokens} tokens where one was asked for",
                    f"fact {fact.subject}, prompt {prompt.text!r}",
                    "Leave --single-token out, or retire the fact.",
                )
