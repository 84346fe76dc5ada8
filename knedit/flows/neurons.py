"""Questions about refined neurons that take more than one verb of the catalog."""

import logging
from collections.abc import Collection

from knedit.catalog.questions.answers import Consistency, FactNeuron
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Refinement

_TOLD = 5  # facts that a warning names, each in its own line

logger = logging.getLogger(__name__)


def newest_refinement(catalog: Catalog, checkpoint: str | None, refinement: str | None = None) -> Refinement:
    """Return the refinement named, else a checkpoint's newest one, else that of the only refined checkpoint.

    Raises CatalogError if there is none, if the one named is of another checkpoint than the one named, or if several
    checkpoints are refined and none was named.
    """
    if refinement is not None:
        return _named(catalog, refinement, checkpoint)
    if checkpoint is not None:
        return catalog.latest_refinement(catalog.find_checkpoint(checkpoint).id)
    refined = catalog.refined_checkpoints()
    if len(refined) == 1:
        return catalog.latest_refinement(refined[0].id)
    if not refined:
        raise CatalogError("no checkpoint has refined neurons", catalog.address, "Run: knedit refine CHECKPOINT")
    names = ", ".join(one.name for one in refined)
    raise CatalogError(f"several checkpoints are refined: {names}", catalog.address, "Name one with --checkpoint.")


def _named(catalog: Catalog, reference: str, checkpoint: str | None) -> Refinement:
    found = catalog.find_refinement(reference)
    if checkpoint is not None:
        one = catalog.find_checkpoint(checkpoint)
        if found not in catalog.refinements(one.id):
            raise CatalogError(f"the refinement {reference} is of another checkpoint", one.name, "Name one of the two.")
    return found


def neurons_of_fact(catalog: Catalog, reference: str, refinement: Refinement, *, users: int = 0) -> list[FactNeuron]:
    """Return a fact's refined neurons, by falling score, each with its other users.

    Raises CatalogError if the fact is unknown, or is in the catalog without having been attributed and refined.
    """
    return catalog.fact_neurons(refinement.id, catalog.find_fact(reference).id, users=users)


def inconsistent_facts(catalog: Catalog, refinement: Refinement, fact_ids: Collection[int]) -> list[Consistency]:
    """Return those of the facts whose wordings agree little on their neurons, as far as scores are kept, worst first.

    What is coarse is the refinement's own threshold.
    """
    if "threshold" not in refinement.config:
        return []
    threshold = float(refinement.config["threshold"])
    return [one for one in catalog.consistency(refinement.run_id, fact_ids, threshold=threshold) if one.low]


def warn_of_inconsistency(catalog: Catalog, refinement: Refinement, fact_ids: Collection[int]) -> None:
    """Warn of facts whose neurons depend on the wording: an edit of them may hold for some wordings only."""
    found = inconsistent_facts(catalog, refinement, fact_ids)
    for one in found[:_TOLD]:
        named = f"{one.relation}/{one.fact.subject}"
        logger.warning("The wordings of %s agree little on its neurons (Jaccard %.2f)", named, one.mean_jaccard)
    if len(found) > _TOLD:
        logger.warning("So do those of %d more facts", len(found) - _TOLD)
