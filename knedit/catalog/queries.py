"""The catalog's questions that count: what refinement counts, hubs, and the neurons of a relation.

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
    refined_facts,
    relations,
)
from knedit.records import NEURON_ROLES

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


def refined_totals(refinement_id: int) -> Executable:
    """Select the numbers of facts and of relations that were refined."""
    totals = [func.count(), func.count(distinct(facts.c.relation_id))]
    return select(*totals).select_from(refined_facts).join(facts).where(refined_facts.c.refinement_id == refinement_id)


def hubs(refinement_id: int, limit: int) -> Executable:
    """Select layer, index, facts, relations and the facts of each neuron role, the most facts first."""
    n_facts, n_relations = func.count(), func.count(distinct(facts.c.relation_id))
    of_role = [func.sum(case((knowledge_neurons.c.role == role, 1), else_=0)) for role in NEURON_ROLES]
    return (
        select(*_PLACE, n_facts, n_relations, *of_role)
        .select_from(knowledge_neurons)
        .join(facts, facts.c.id == knowledge_neurons.c.fact_id)
        .where(knowledge_neurons.c.refinement_id == refinement_id)
        .group_by(*_PLACE)
        .order_by(n_facts.desc(), n_relations.desc(), *_PLACE)
        .limit(limit)
    )


def relation_neurons(refinement_id: int, relation_id: int) -> Executable:
    """Select the fields of RelationNeuron, the most facts first; ties by score, then layer and index."""
    n_facts, score = func.count(), func.sum(knowledge_neurons.c.score)
    generic = func.max(case((knowledge_neurons.c.role == "generic", 1), else_=0))
    return (
        select(*_PLACE, n_facts, score, generic)
        .select_from(knowledge_neurons)
        .join(facts, facts.c.id == knowledge_neurons.c.fact_id)
        .where(knowledge_neurons.c.refinement_id == refinement_id, facts.c.relation_id == relation_id)
        .group_by(*_PLACE)
        .order_by(n_facts.desc(), score.desc(), *_PLACE)
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
            *_PLACE, knowledge_neurons.c.score.desc(), relations.c.key, facts.c.subject, facts.c.object, facts.c.id
        )
    )
