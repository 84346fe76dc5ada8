"""knedit neurons: which neurons a fact has, which facts a neuron has, which neurons serve everybody."""

from collections.abc import Callable, Iterable
from functools import wraps
from itertools import compress
from typing import Any

import click

from knedit.cli.neuron_exchange import export, import_
from knedit.cli.neuron_remarks import describe, label, labels, note, show
from knedit.cli.options import json_option, limit_option, offset_option, read_roles, whole, with_catalog
from knedit.cli.show import few, show_impact, show_json, show_rows
from knedit.errors import KneditError
from knedit.records import NEURON_ROLES, show_id


@click.group()
def neurons() -> None:
    """Ask for a fact's neurons, a neuron's facts, hubs, overlap, layers; read what neurons say, and remark on them."""


for command in (show, describe, note, label, labels, import_, export):
    neurons.add_command(command)


def with_refinement(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the catalog, and the refinement that --refinement and --checkpoint mean."""

    @click.option("--checkpoint", metavar="C", help="Which checkpoint's; else the only refined one.")
    @click.option("--refinement", metavar="ID", help="Which refinement; else the checkpoint's newest.")
    @with_catalog
    @wraps(command)
    def run(catalog: Any, *, checkpoint: str | None, refinement: str | None, **arguments: Any) -> Any:
        from knedit.flows.neurons import newest_refinement

        return command(catalog, newest_refinement(catalog, checkpoint, refinement), **arguments)

    return run


@neurons.command()
@click.argument("reference", metavar="FACT")
@click.option("--users", type=whole, default=0, help="Name so many of each neuron's other facts.")
@with_refinement
@json_option
def of(catalog: Any, refinement: Any, *, reference: str, users: int, as_json: bool) -> None:
    """List the refined neurons of a FACT, by falling score, with the number of other facts that use them."""
    from knedit.flows.neurons import neurons_of_fact

    found = neurons_of_fact(catalog, reference, refinement, users=users)
    listed: Callable[[list[str]], Any] = list if as_json else _joined
    rows = [
        [
            *(one.neuron.layer, one.neuron.index, one.neuron.score, one.neuron.share, one.neuron.role),
            *(one.others, one.relations),
            *(listed(words) for words in (list(one.labels), _tokens(one.reading), [_named(use) for use in one.users])),
        ]
        for one in found
    ]
    columns = ["layer", "index", "score", "share", "role", "other facts", "relations", "labels", "says", "users"]
    told = [place < _ALWAYS or as_json or any(row[place] for row in rows) for place in range(len(columns))]
    show_rows(
        list(compress(columns, told)), [list(compress(row, told)) for row in rows], as_json=as_json, title=reference
    )


_ALWAYS = 7  # columns of a fact's neurons that a table has even where they are empty


def _joined(words: Iterable[str]) -> str:
    return ", ".join(words)


def _tokens(reading: Any) -> list[str]:
    return [token for token, _ in (reading or {}).get("top", [])[:5]]


def _named(use: Any) -> str:
    return f"{use.relation}/{use.fact.subject}"


@neurons.command()
@limit_option
@offset_option
@click.option("--role", type=click.Choice(NEURON_ROLES), help="Only neurons whose widest role it is.")
@click.option("--layer", type=whole, help="Only neurons of one layer.")
@click.option("--min-share", type=click.FloatRange(0, 1), help="Only neurons in at least that part of the facts.")
@with_refinement
@json_option
def hubs(catalog: Any, refinement: Any, *, as_json: bool, **choices: Any) -> None:
    """List the neurons that the most facts share, and whether they are a fact's, a relation's or generic."""
    rows = [
        [one.layer, one.index, one.facts, one.share_of_facts, one.relations, one.share_of_relations, one.role]
        for one in catalog.hubs(refinement.id, **choices)
    ]
    columns = ["layer", "index", "facts", "share of facts", "relations", "share of relations", "role"]
    show_rows(columns, rows, as_json=as_json)


@neurons.command("facts")
@click.argument("layer", type=whole)
@click.argument("index", type=whole)
@limit_option
@offset_option
@with_refinement
@json_option
def facts_(catalog: Any, refinement: Any, *, layer: int, index: int, limit: int, offset: int, as_json: bool) -> None:
    """List the facts that hold the neuron (LAYER, INDEX), both counted from 0, the highest score first."""
    rows = [
        [use.relation, use.fact.subject, use.fact.object, use.neuron.score, use.neuron.share, use.neuron.role]
        for use in catalog.users_of(refinement.id, layer, index, limit=limit, offset=offset)
    ]
    title = f"({layer}, {index}): facts {offset + 1} to {offset + len(rows)}" if rows else ""
    columns = ["relation", "subject", "object", "score", "share", "role"]
    show_rows(columns, rows, as_json=as_json, title=title)


@neurons.command()
@with_refinement
@json_option
def layers(catalog: Any, refinement: Any, *, as_json: bool) -> None:
    """Count each layer's neurons: how often facts hold one, and how many there are."""
    rows = [[one.layer, one.uses, one.share, one.neurons] for one in catalog.layer_counts(refinement.id)]
    show_rows(["layer", "uses", "share", "neurons"], rows, as_json=as_json)


@neurons.command()
@click.option("--matrix", is_flag=True, help="Instead, each two relations that share neurons.")
@with_refinement
@json_option
def overlap(catalog: Any, refinement: Any, *, matrix: bool, as_json: bool) -> None:
    """Tell how many neurons two facts share on average, within a relation and across, over all pairs of facts."""
    if matrix:
        pairs = [[one.relation, one.other, one.mean_shared] for one in catalog.overlap_matrix(refinement.id)]
        show_rows(["relation", "other", "mean shared"], pairs, as_json=as_json)
        return
    found = catalog.overlap(refinement.id)
    if as_json:
        show_json(found)
        return
    rows = [[one.relation, one.facts, one.mean_neurons, one.within, one.across] for one in found.relations]
    rows.append(["all", found.facts, found.mean_neurons, found.within, found.across])
    show_rows(["relation", "facts", "mean neurons", "shared within", "shared across"], rows, as_json=False)


@neurons.command("few")
@click.option("--at-most", type=whole, default=0, show_default=True, help="So many neurons or fewer.")
@click.option("--relation", metavar="R", help="Only the facts of one relation.")
@limit_option
@offset_option
@with_refinement
@json_option
def few_(catalog: Any, refinement: Any, *, relation: str | None, as_json: bool, **choices: Any) -> None:
    """List the facts for which no neurons, or few, were found."""
    own = catalog.find_relation(relation).id if relation else None
    rows = [
        [one.relation, one.fact.subject, one.fact.object, one.refined.neurons, one.refined.prompts, one.refined.share]
        for one in catalog.sparse_facts(refinement.id, relation_id=own, **choices)
    ]
    show_rows(["relation", "subject", "object", "neurons", "prompts", "share asked"], rows, as_json=as_json)


@neurons.command()
@click.argument("reference", metavar="[FACT]", required=False)
@click.option("--neuron", type=(whole, whole), metavar="LAYER INDEX", help="The sets that hold a neuron, of any fact.")
@with_refinement
@json_option
def sets(
    catalog: Any, refinement: Any, *, reference: str | None, neuron: tuple[int, int] | None, as_json: bool
) -> None:
    """List degenerate sets, of a FACT or with a neuron: neurons of which any alone upholds the fact."""
    if (reference is None) == (neuron is None):
        raise KneditError("Sets are asked for by a fact or by a neuron", "neurons sets", "Give FACT or --neuron.")
    if neuron is not None:
        found = catalog.degenerate_sets_with(refinement.id, *neuron)
    else:
        found = catalog.degenerate_sets_of(refinement.id, catalog.find_fact(reference).id)
    rows = [
        [one.relation, one.fact.subject, one.held.set.score, list(one.held.neurons) if as_json else _places(one.held)]
        for one in found
    ]
    show_rows(["relation", "subject", "score", "neurons"], rows, as_json=as_json)


def _places(held: Any) -> str:
    return few([str(place) for place in held.neurons], 8)


@neurons.command()
@click.argument("reference", metavar="FACT")
@click.option("--roles", default="fact", show_default=True, help=f"Of these neurons: {','.join(NEURON_ROLES)}.")
@limit_option
@with_refinement
@json_option
def impact(catalog: Any, refinement: Any, *, reference: str, roles: str, limit: int, as_json: bool) -> None:
    """List which other facts an edit of a FACT's neurons would touch, protected ones first, and how much."""
    fact = catalog.find_fact(reference)
    show_impact(catalog.fact_impact(refinement.id, fact.id, roles=read_roles(roles), limit=limit), as_json=as_json)


@neurons.command()
@click.argument("before")
@click.argument("after")
@limit_option
@with_catalog
@json_option
def diff(catalog: Any, *, before: str, after: str, limit: int, as_json: bool) -> None:
    """Compare two refinements, named by the beginnings of their ids: facts, neurons, the largest changes."""
    sides = [catalog.find_refinement(one) for one in (before, after)]
    found = catalog.refinement_difference(sides[0].id, sides[1].id, limit=limit)
    if as_json:
        show_json({"before": sides[0], "after": sides[1], "difference": found})
        return
    show_refinements(found, f"Refinements {show_id(sides[0].id)} and {show_id(sides[1].id)}")


def show_refinements(found: Any, title: str) -> None:
    """Print how two refinements differ: totals, then facts."""
    totals = [[found.only_before, found.only_after, found.equal, found.changed, found.mean_jaccard]]
    show_rows(["only before", "only after", "equal", "changed", "mean Jaccard"], totals, as_json=False, title=title)
    rows = [[one.relation, one.fact.subject, one.before, one.after, one.gained, one.lost] for one in found.changes]
    show_rows(["relation", "subject", "before", "after", "gained", "lost"], rows, as_json=False)
