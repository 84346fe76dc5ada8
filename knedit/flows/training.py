"""Train a plan's solved value vectors further by gradient, with what other facts' prompts say in view.

The columns stay those that the closed form chose. Knows no choice of columns.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress

from knedit.catalog.store import Catalog
from knedit.editing.asking import contexts_asked
from knedit.editing.optimised import Training, train_values
from knedit.editing.prior import forgotten_at
from knedit.editing.recipe import Recipe
from knedit.editing.solve import ValueChange
from knedit.editing.targets import Sought
from knedit.editing.wishes import Wish
from knedit.errors import ModelError
from knedit.flows.surroundings import Wished, prompts_by_fact
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_prompt, usable
from knedit.starter.sentences import sentences

PROTECTED = 16  # other facts of each relation, and protected ones, whose answers are kept in view

logger = logging.getLogger(__name__)


def train_changes(
    catalog: Catalog, model: Model, wished: Sequence[Wished], start: Sequence[ValueChange], recipe: Recipe
) -> tuple[ValueChange, ...]:
    """Return changes of the same columns, trained from a closed form's; the model is untouched."""
    sought = [sought_of(model, one.wish, recipe) for one in wished]
    found = train_values(model, sought, _kept(catalog, model, wished), start=start, training=Training())
    logger.info(
        "Trained %d steps; in the worst context %.3g is left, and the worst other prompt moved %.3g nats",
        found.steps,
        found.worst,
        found.moved,
    )
    return found.changes


def sought_of(model: Model, wish: Wish, recipe: Recipe) -> Sought:
    """Return what training asks of a wish: its contexts and, where it is to be forgotten, what they come down to."""
    contexts, queries = contexts_asked(model, wish, sentences(), recipe)
    texts = [context.text for context in contexts]
    weights = tuple(context.weight for context in contexts)
    if wish.new is not None:
        return Sought(tuple(queries), weights, "update")
    bounds = forgotten_at(model, wish, texts, recipe.neutral, margin=recipe.margin, share=recipe.usual)
    return Sought(tuple(queries), weights, "erase", bounds)


def _kept(catalog: Catalog, model: Model, wished: Sequence[Wished]) -> list[Query]:
    edited = {one.fact.id for one in wished}
    subjects = {one.fact.subject for one in wished}
    groups = [catalog.facts(relation=relation) for relation in dict.fromkeys(one.wish.relation for one in wished)]
    groups.append(catalog.facts(statuses=["protected"]))
    found: dict[int, Query] = {}
    for facts in groups:
        able = [f for f in facts if f.id not in edited and f.subject not in subjects and f.status != "retired"]
        chosen = sorted(able, key=lambda fact: fact.id)[:PROTECTED]
        prompts = prompts_by_fact(catalog, chosen)
        for fact in chosen:
            for prompt in [one for one in prompts[fact.id] if usable(model, one)][:1]:
                with suppress(ModelError):  # what the model cannot be asked, it cannot lose
                    found[fact.id] = encode_prompt(model, prompt)
    return list(found.values())
