"""Choose the neurons that an edit changes, from what refinement knows of facts and relations.

Knows no weights and no catalog. Source: Dai et al., ACL 2022, sections 4.3 and 4.4, and their code: hubs are left
out of an update; a relation is erased through its most frequent neurons.
"""

from collections.abc import Collection, Iterable
from itertools import islice

from knedit.editing.steps import Neuron
from knedit.errors import EditError
from knedit.records import KnowledgeNeuron


def neurons_of_fact(
    neurons: Iterable[KnowledgeNeuron], *, roles: Collection[str], target: str, taken: Collection[Neuron] = ()
) -> tuple[Neuron, ...]:
    """Return a fact's neurons of the wished roles, by falling score (the unscored last), less those `taken` before.

    Raises EditError where none is left: an edit that changes nothing must not pass for one.
    """
    every = list(neurons)
    ranked = sorted(every, key=lambda n: (n.score is None, -(n.score or 0.0), n.layer, n.index))
    chosen = tuple((n.layer, n.index) for n in ranked if n.role in roles and (n.layer, n.index) not in taken)
    if not chosen:
        counts = ", ".join(f"{sum(n.role == role for n in every)} {role}" for role in ("fact", "relation", "generic"))
        raise EditError(
            f"no neuron is left to edit: of the fact's neurons there are {counts}",
            target,
            "Allow more roles (--roles fact,relation), or refine with a lower --share or --threshold.",
        )
    return chosen


def neurons_of_relation(ranked: Iterable[Neuron], *, limit: int, target: str) -> tuple[Neuron, ...]:
    """Return the first `limit` of a relation's neurons, ranked by how many of its facts hold them.

    Raises EditError if there is none.
    """
    chosen = tuple(islice(ranked, limit))
    if not chosen:
        raise EditError(
            "no neuron is left to erase: the relation's facts have no refined neurons of their own",
            target,
            "Refine with a lower --share or --threshold, or allow generic neurons (--roles fact,relation,generic).",
        )
    return chosen
