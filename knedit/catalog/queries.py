"""What refinement counts, how runs went, and who shares neurons. Other questions are in `questions/`.

Builds statements and runs none; knows nothing of connections. The refining counts are those of Dai et al.,
"Knowledge Neurons in Pretrained Transformers" (ACL 2022), section 3.2.
"""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Executable, Select, and_, case, distinct, func, select, tuple_

from knedit.catalog.schema import (
    facts,
    knowledge_neurons,
    neuron_scores,
    prompt_attributions,
    prompts,
    relations,
)

COUNTED = ("ok", "inexact")

_INDEX = knowledge_neurons.c["index"]
_PLACE = (knowledge_neurons.c.layer, _INDEX)


def _counts() -> ColumnElement[bool]:
    return and_(prompt_attributions.c.status.in_(COUNTED), prompt_attributions.c.peak > 0)


def _in_use() -> ColumnElement[bool]:
    return and_(facts.c.status != "retired", prompts.c.status != "retired")


def coarse_counts(run_id: int, threshold: float) -> Executable:
    """Select the fields of CoarseCount over the run's prompts that count and are not retired."""
    index, score = neuron_scores.c["index"], neuron_scores.c.score
    place = (facts.c.id, facts.c.relation_id, neuron_scores.c.layer, index)
    return (
        select(*place, func.count(), func.sum(score))
        .select_from(prompt_attributions)
        .join(neuron_scores)
        .join(prompts, prompts.c.id == prompt_attributions.c.prompt_id)
        .join(facts, facts.c.id == prompts.c.fact_id)
        .where(prompt_attributions.c.run_id == run_id, _counts(), _in_use())
        .where(score >= prompt_attributions.c.peak * float(threshold))
        .group_by(*place)
        .order_by(facts.c.id, neuron_scores.c.layer, index)
    )


def attributed_facts(run_id: int) -> Executable:
    """Select the fields of AttributedFact over all of the run's prompts; retired ones do not count, nor such facts."""
    return (
        select(facts.c.id, facts.c.relation_id, func.sum(case((and_(_counts(), _in_use()), 1), else_=0)))
        .select_from(prompt_attributions)
        .join(prompts, prompts.c.id == prompt_attributions.c.prompt_id)
        .join(facts, facts.c.id == prompts.c.fact_id)
        .where(prompt_attributions.c.run_id == run_id, facts.c.status != "retired")
        .group_by(facts.c.id, facts.c.relation_id)
        .order_by(facts.c.id)
    )


def prompts_by_status() -> Select[int, str, int]:
    """Select run, status, and the number of prompts that stand so."""
    run, status = prompt_attributions.c.run_id, prompt_attributions.c.status
    return select(run, status, func.count()).group_by(run, status).order_by(run, status)


def facts_by_run() -> Select[int, int]:
    """Select run and the number of its facts."""
    run = prompt_attributions.c.run_id
    joined = prompt_attributions.join(prompts, prompts.c.id == prompt_attributions.c.prompt_id)
    return select(run, func.count(distinct(prompts.c.fact_id))).select_from(joined).group_by(run)


def outcomes(run_id: int, status: str, limit: int) -> Executable:
    """Select relation key, Fact, Prompt and PromptAttribution of one status, the largest completeness error first."""
    error = prompt_attributions.c.completeness_error
    return (
        select(relations.c.key, facts, prompts, prompt_attributions)
        .select_from(prompt_attributions)
        .join(prompts, prompts.c.id == prompt_attributions.c.prompt_id)
        .join(facts, facts.c.id == prompts.c.fact_id)
        .join(relations, relations.c.id == facts.c.relation_id)
        .where(prompt_attributions.c.run_id == run_id, prompt_attributions.c.status == status)
        .order_by(func.coalesce(error, 0.0).desc(), relations.c.key, facts.c.subject, prompts.c.text, prompts.c.id)
        .limit(limit)
    )


def uses(refinement_id: int, places: Iterable[tuple[int, int]]) -> Executable:
    """Select Fact, relation key and KnowledgeNeuron, in this order of columns, for neurons of a refinement."""
    return (
        select(facts, relations.c.key, knowledge_neurons)
        .select_from(knowledge_neurons)
        .join(facts, facts.c.id == knowledge_neurons.c.fact_id)
        .join(relations, relations.c.id == facts.c.relation_id)
        .where(knowledge_neurons.c.refinement_id == refinement_id, tuple_(*_PLACE).in_(list(places)))
        .order_by(
            *_PLACE,
            knowledge_neurons.c.score.desc().nulls_last(),
            relations.c.key,
            facts.c.subject,
            facts.c.object,
            facts.c.id,
        )
    )
