"""Which facts and prompts a curator means: by name, relation, selection and status. Knows nothing of what is done."""

from collections.abc import Sequence

from knedit.catalog.store import Catalog
from knedit.errors import FactsError
from knedit.records import ROLES, Fact, Prompt


def facts_of_selection(catalog: Catalog, name: str) -> list[Fact]:
    """Return the selection's facts, in its order; raise FactsError where there are none."""
    if facts := catalog.selected(name):
        return facts
    raise FactsError("the selection has no facts", name, f"See what it asks for: knedit selections show {name}")


def facts_in_use(catalog: Catalog, name: str) -> list[Fact]:
    """Return the selection's facts but the retired ones; raise FactsError where there are none."""
    facts = facts_of_selection(catalog, name)
    if in_use := [fact for fact in facts if fact.status != "retired"]:
        return in_use
    raise FactsError(f"all {len(facts)} facts of the selection are retired", name, "Bring some back: facts status.")


def meant_facts(
    catalog: Catalog,
    references: Sequence[str] = (),
    *,
    relations: Sequence[str] = (),
    selections: Sequence[str] = (),
    before: str | None = None,
) -> list[int]:
    """Return the ids of the facts named one by one, of the relations and of the selections, each once.

    Where only `before` is given, all facts of that status. Raises FactsError where nothing is named, or found.
    """
    ids = [catalog.find_fact(reference).id for reference in references]
    for key in relations:
        catalog.find_relation(key)
        ids += catalog.fact_ids_of({"relations": [key]})
    for name in selections:
        ids += [fact.id for fact in facts_of_selection(catalog, name)]
    named = references or relations or selections
    if not named and before is not None:
        ids = catalog.fact_ids_of({"statuses": [before]})
    if not named and before is None:
        raise FactsError("no facts are named", "", "Name facts, or give --relation or --select.")
    if not ids:
        where = ", ".join((*relations, *selections)) or f"status {before}"
        raise FactsError("there are no such facts", where, "Run: knedit facts list")
    return list(dict.fromkeys(ids))


def meant_prompts(
    catalog: Catalog, references: Sequence[str] = (), *, facts: Sequence[str] = (), roles: Sequence[str] = ()
) -> list[Prompt]:
    """Return the prompts named one by one and those of the facts, all or of these roles, each once.

    Raises FactsError where nothing is named, or found.
    """
    prompts = [catalog.find_prompt(reference) for reference in references]
    if facts:
        ids = [catalog.find_fact(reference).id for reference in facts]
        prompts += catalog.prompts(ids, roles=roles or ROLES)
    if not prompts:
        raise FactsError("no prompts are named", ", ".join(facts), "Name prompts by their ids, or a fact with --fact.")
    return list({prompt.id: prompt for prompt in prompts}.values())
