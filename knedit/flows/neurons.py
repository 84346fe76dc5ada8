"""Questions about refined neurons that take more than one verb of the catalog."""

from collections import Counter

from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import KnowledgeNeuron, Refinement


def newest_refinement(catalog: Catalog, checkpoint: str | None) -> Refinement:
    """Return a checkpoint's newest refinement; without a checkpoint, that of the only refined one.

    Raises CatalogError if there is none, or if several checkpoints are refined and none was named.
    """
    if checkpoint is not None:
        return catalog.latest_refinement(catalog.find_checkpoint(checkpoint).id)
    refined = [one for one in catalog.checkpoints() if catalog.refinements(one.id)]
    if len(refined) == 1:
        return catalog.latest_refinement(refined[0].id)
    if not refined:
        raise CatalogError("no checkpoint has refined neurons", catalog.address, "Run: knedit refine CHECKPOINT")
    names = ", ".join(one.name for one in refined)
    raise CatalogError(f"several checkpoints are refined: {names}", catalog.address, "Name one with --checkpoint.")


def neurons_of_fact(catalog: Catalog, reference: str, checkpoint: str | None) -> list[tuple[KnowledgeNeuron, int]]:
    """Return a fact's refined neurons, by falling score, each with the number of other facts that hold it.

    Raises CatalogError if the fact is unknown, or is in the catalog without having been attributed and refined.
    """
    fact = catalog.find_fact(reference)
    refinement = newest_refinement(catalog, checkpoint)
    if fact.id not in {one.fact_id for one in catalog.refined_facts(refinement.id)}:
        raise CatalogError(
            "the fact was not refined", reference, "Run: knedit attribute CHECKPOINT, then knedit refine CHECKPOINT"
        )
    neurons = catalog.neurons_of(refinement.id, fact.id)
    uses = catalog.sharing(refinement.id, [(one.layer, one.index) for one in neurons])
    users = Counter((use.neuron.layer, use.neuron.index) for use in uses if use.fact.id != fact.id)
    return [(one, users[one.layer, one.index]) for one in neurons]
