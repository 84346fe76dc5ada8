"""What a user wishes, found in the catalog: goals, checked for what no plan may ask.

Knows no model, no neurons and no solver.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from knedit.catalog.store import Catalog
from knedit.errors import CatalogError, EditError
from knedit.flows.curate import facts_in_use
from knedit.flows.plan_file import PlanRow
from knedit.flows.stacking import NOTHING, Earlier
from knedit.records import Fact, show_id


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user asks for, in words: `R/SUBJECT=NEW`, `R/SUBJECT`, relation keys, and names of saved selections.

    The facts of `selections` are erased one by one; those of `rewrites` are given the new object that the data set
    they came from requests. `rows` are those of a file; the facts of `amplified` are to be said louder, or softer.
    """

    updates: Sequence[str] = ()
    erasures: Sequence[str] = ()
    relations: Sequence[str] = ()
    selections: Sequence[str] = ()
    rewrites: Sequence[str] = ()
    rows: Sequence[PlanRow] = ()
    amplified: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Goal:
    """One wish, found in the catalog: the facts it touches and the new object, if any."""

    operation: str
    target: str
    facts: tuple[Fact, ...]
    new: str | None = None


def find_goals(catalog: Catalog, wishes: Wishes, earlier: Earlier = NOTHING) -> list[Goal]:
    """Return the wishes as goals, updates first; raise EditError if one is empty, barred or contradictory.

    Retired facts are left out of relations and selections, and refused by name; protected facts are always refused.
    `earlier` tells what the weights were made to say since.
    """
    keys = {relation.id: relation.key for relation in catalog.relations()}
    rows = [(row, _named(catalog, f"{row.relation}/{row.subject}", row.where)) for row in wishes.rows]
    goals = [_update_goal(catalog, wish, earlier) for wish in wishes.updates]
    for row, fact in rows:
        if row.new is not None:
            goals.append(_goal_of(fact, f"{row.relation}/{row.subject}", row.new, earlier))
    for name in wishes.rewrites:
        goals += _rewrite_goals(catalog, name, keys, earlier)
    erased = [catalog.find_fact(wish) for wish in wishes.erasures]
    erased += [fact for row, fact in rows if row.new is None]
    erased += [fact for name in wishes.selections for fact in facts_in_use(catalog, name)]
    goals += [Goal("erase", f"{keys[fact.relation_id]}/{fact.subject}", (fact,)) for fact in erased]
    for key in wishes.relations:
        facts = tuple(fact for fact in catalog.facts(relation=key) if fact.status != "retired")
        if not facts:
            raise EditError("the relation has no facts to erase", key, "Run: knedit facts list")
        goals.append(Goal("erase-relation", key, facts))
    louder = [catalog.find_fact(wish) for wish in wishes.amplified]
    goals += [Goal("amplify", f"{keys[fact.relation_id]}/{fact.subject}", (fact,)) for fact in louder]
    if not goals:
        raise EditError("nothing is to be edited", "plan", "Give --update, --erase, --erase-relation or a selection.")
    _check_goals(goals, keys)
    return goals


def recall_goals(catalog: Catalog, told: Sequence[tuple[str, Sequence[str], str | None]]) -> list[Goal]:
    """Return the goals of a plan that was made before, each told as operation, facts and new object, in their order.

    Raises CatalogError for facts that are not there, EditError for what no plan may ask.
    """
    keys = {relation.id: relation.key for relation in catalog.relations()}
    goals = []
    for operation, references, new in told:
        facts = tuple(catalog.find_fact(reference) for reference in references)
        key = keys[facts[0].relation_id]
        target = key if operation == "erase-relation" else f"{key}/{facts[0].subject}"
        goals.append(Goal(operation, target, facts, new))
    _check_goals(goals, keys)
    return goals


def _named(catalog: Catalog, reference: str, where: str) -> Fact:
    try:
        return catalog.find_fact(reference)
    except CatalogError as error:
        raise EditError(error.what, where, error.cure) from None


def _update_goal(catalog: Catalog, wish: str, earlier: Earlier) -> Goal:
    reference, sign, new = wish.rpartition("=")
    if not sign or not new.strip() or not reference:
        raise EditError("an update is written RELATION/SUBJECT=NEW", repr(wish), 'Example: "capital/France=Rome".')
    return _goal_of(catalog.find_fact(reference), reference, new.strip(), earlier)


def _goal_of(fact: Fact, target: str, new: str, earlier: Earlier) -> Goal:
    if new == earlier.present(fact.id, fact.object):
        raise EditError(f"the new object {new!r} is the present one", target, "Choose another object.")
    return Goal("update", target, (fact,), new)


def _rewrite_goals(catalog: Catalog, name: str, keys: Mapping[int, str], earlier: Earlier) -> list[Goal]:
    facts = facts_in_use(catalog, name)
    wanted: dict[int, set[str]] = {fact.id: set() for fact in facts}
    for one in catalog.requested_rewrites(list(wanted)):
        wanted[one.fact_id].add(one.new_object)
    goals = []
    for fact in facts:
        target = f"{keys[fact.relation_id]}/{fact.subject}"
        if len(wanted[fact.id]) != 1:
            raise EditError(
                f"the catalog has {len(wanted[fact.id])} requested rewrites of the fact, not one",
                target,
                f"Leave it out of the selection, or say what you want: --update {target}=NEW",
            )
        (new,) = wanted[fact.id]
        goals.append(_goal_of(fact, target, new, earlier))
    return goals


def check_editable(fact: Fact, where: str) -> None:
    """Raise EditError for a fact that no edit may change: a protected or retired one."""
    if fact.status in ("protected", "retired"):
        raise EditError(
            f"the fact {fact.subject} – {fact.object} is {fact.status}",
            where,
            f"Leave it out of the edit, or change that: knedit facts status {show_id(fact.id)} approved",
        )


def _check_goals(goals: Sequence[Goal], keys: Mapping[int, str]) -> None:
    seen: dict[int, Goal] = {}
    answers: dict[tuple[int, str], Goal] = {}
    for goal in goals:
        for fact in goal.facts:
            check_editable(fact, goal.target)
            if fact.id in seen:
                raise _edited_twice(fact, seen[fact.id], goal)
            seen[fact.id] = goal
            other = answers.setdefault((fact.relation_id, fact.subject), goal)
            if goal.new != other.new and goal.operation == other.operation == "update":
                raise _two_answers(f"{keys[fact.relation_id]}/{fact.subject}", other, goal)


def _edited_twice(fact: Fact, first: Goal, second: Goal) -> EditError:
    if first.new != second.new and first.operation == second.operation == "update":
        return _two_answers(second.target, first, second)
    return EditError(
        f"the fact {fact.subject} – {fact.object} is edited twice, by {first.target} and {second.target}",
        "plan",
        "Keep one of the two.",
    )


def _two_answers(target: str, first: Goal, second: Goal) -> EditError:
    return EditError(
        f"two answers are wished for one question, {first.new!r} and {second.new!r}", target, "Keep one of the two."
    )
