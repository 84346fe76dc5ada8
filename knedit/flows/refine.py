"""Refine a run: counts from the catalog through the engine's thresholds back into the catalog. No model is needed."""

from datetime import UTC, datetime

from knedit.attribution.refine import Thresholds, refine
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import AttributionRun, Checkpoint, KnowledgeNeuron, RefinedFact, Refinement, show_id


def refine_checkpoint(
    catalog: Catalog, checkpoint: Checkpoint, thresholds: Thresholds, *, run: str | None = None
) -> tuple[Refinement, list[RefinedFact], list[KnowledgeNeuron]]:
    """Refine a checkpoint's newest run, or the one that `run` begins to spell; the same thresholds replace the result.

    Raises CatalogError if there is no such run, or if its scores were not kept down to the threshold.
    """
    chosen = _find_run(catalog, checkpoint, run)
    floor = float(chosen.config.get("floor", 0.0))
    if thresholds.threshold < floor:
        raise CatalogError(
            f"the threshold {thresholds.threshold:g} is below {floor:g}, down to which scores were kept",
            f"run {show_id(chosen.id)}",
            f"Choose a threshold of at least {floor:g}.",
        )
    config = thresholds.as_config()
    identity = Refinement.identify(chosen.id, config)
    facts, neurons = refine(
        identity,
        catalog.attributed_facts(chosen.id),
        catalog.coarse_counts(chosen.id, thresholds.threshold),
        thresholds,
    )
    refinement = catalog.put_refinement(Refinement(identity, chosen.id, config, datetime.now(UTC)), facts, neurons)
    return refinement, facts, neurons


def _find_run(catalog: Catalog, checkpoint: Checkpoint, reference: str | None) -> AttributionRun:
    runs = [run for run in catalog.runs(checkpoint.id) if run.config.get("published") != "neurons"]
    if not runs:
        published = f"Run: knedit neurons import PATH --checkpoint {checkpoint.name}, with published scores"
        raise CatalogError(
            f"checkpoint {checkpoint.name} has no attribution to refine",
            catalog.address,
            f"Run: knedit attribute {checkpoint.name}" if checkpoint.sha256 else published,
        )
    if reference is None:
        return runs[0]
    found = [run for run in runs if show_id(run.id).startswith(reference)]
    if len(found) != 1:
        raise CatalogError(
            f"{len(found)} runs of checkpoint {checkpoint.name} begin with {reference!r}",
            catalog.address,
            "Its runs: " + ", ".join(show_id(run.id) for run in runs),
        )
    return found[0]
