"""The catalog's verbs for questions about neurons and words: one statement each, whatever the number of facts.

Knows nothing of how a question is put in SQL: that is `questions/`.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import select

from knedit.catalog import schema
from knedit.catalog.answers import Hub, NeuronUse, RelationNeuron
from knedit.catalog.degenerate_sets import add_sets, delete_sets
from knedit.catalog.naming import did_you_mean, id_range, say_which
from knedit.catalog.questions import degenerate, impact, neurons, overlap, search
from knedit.catalog.questions.answers import (
    FactNeuron,
    FoundFact,
    FoundPrompt,
    HeldSet,
    Impact,
    ImpactedFact,
    LayerCount,
    NeuronSet,
    Overlap,
    RelationOverlap,
    SharedNeurons,
    SparseFact,
)
from knedit.catalog.questions.words import read_words
from knedit.catalog.rows import Transactions
from knedit.errors import CatalogError
from knedit.records import (
    NEURON_ROLES,
    Checkpoint,
    DegenerateSet,
    Fact,
    KnowledgeNeuron,
    Prompt,
    RefinedFact,
    Refinement,
    show_id,
)

_FACT = len(schema.facts.c)
_NEURON = len(schema.knowledge_neurons.c)
_SET = len(schema.degenerate_sets.c)


class NeuronQuestions(Transactions):
    def find_refinement(self, reference: str) -> Refinement:
        """Return the refinement whose shown id alone begins with `reference`, of at least four digits."""
        table = schema.refinements
        ids = id_range(reference)
        wanted = select(table).order_by(table.c.created_at.desc(), table.c.id)
        with self._reading() as connection:
            known = [Refinement(*row) for row in connection.execute(wanted)]
        found = [one for one in known if ids is not None and ids[0] <= one.id <= ids[1]]
        if len(found) == 1:
            return found[0]
        if found:
            which = say_which([show_id(one.id) for one in found])
            raise CatalogError(f'{len(found)} refinements begin with "{reference}"', cure=which)
        cure = say_which([show_id(one.id) for one in known]) if known else "Run: knedit refine CHECKPOINT"
        raise CatalogError(f'There is no refinement "{reference}" in the catalog', cure=cure)

    def refined_checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints that have a refinement, by name."""
        table, runs = schema.checkpoints, schema.attribution_runs
        refined = select(runs.c.checkpoint_id).join(schema.refinements)
        with self._reading() as connection:
            found = connection.execute(select(table).where(table.c.id.in_(refined)).order_by(table.c.name))
            return [Checkpoint(*row) for row in found]

    def fact_neurons(self, refinement_id: int, fact_id: int, *, users: int = 0) -> list[FactNeuron]:
        """Return the fact's neurons with their other users, the highest score first; ties by layer, then index.

        Give the first `users` of each neuron's other users themselves, in a second statement. Raise CatalogError
        where the fact was not refined.
        """
        with self._reading() as connection:
            rows = connection.execute(neurons.fact_neurons(refinement_id, fact_id)).all()
            others = connection.execute(neurons.other_users(refinement_id, fact_id, users)).all() if users else []
        if not rows:
            cure = "Run: knedit attribute CHECKPOINT, then knedit refine CHECKPOINT"
            raise CatalogError(f"The fact {show_id(fact_id)} was not refined", cure=cure)
        named: dict[tuple[int, int], list[NeuronUse]] = {}
        for use in map(_use, others):
            named.setdefault((use.neuron.layer, use.neuron.index), []).append(use)
        held = groupby((row for row in rows if row[0] is not None), lambda row: (row.layer, row.index))
        return [_fact_neuron(list(same), named.get(place, [])) for place, same in held]

    def users_of(
        self, refinement_id: int, layer: int, index: int, *, limit: int | None = None, offset: int = 0
    ) -> list[NeuronUse]:
        """Return the facts that hold the neuron, the highest score first; ties by relation's key, subject, object."""
        wanted = neurons.users(refinement_id, layer, index, limit=limit, offset=offset)
        with self._reading() as connection:
            return [_use(row) for row in connection.execute(wanted)]

    def hubs(
        self,
        refinement_id: int,
        *,
        limit: int | None = 20,
        offset: int = 0,
        role: str | None = None,
        layer: int | None = None,
        min_share: float | None = None,
    ) -> list[Hub]:
        """Return the neurons that most facts hold; ties by relations, then layer and index.

        Only those of one role (see Hub.role), of one layer, or in at least that share of the facts, where asked.
        """
        if role is not None and role not in NEURON_ROLES:
            raise CatalogError(f'There is no role "{role}"', cure=did_you_mean(role, NEURON_ROLES))
        wanted = neurons.hubs(refinement_id, limit=limit, offset=offset, role=role, layer=layer, min_share=min_share)
        with self._reading() as connection:
            return [_hub(*row) for row in connection.execute(wanted)]

    def relation_neurons(self, refinement_id: int, relation_id: int) -> list[RelationNeuron]:
        """Return the neurons of a relation's facts, the most facts first; ties by score, then layer and index."""
        with self._reading() as connection:
            found = connection.execute(neurons.relation_neurons(refinement_id, relation_id))
            return [
                RelationNeuron(layer, index, int(facts), score, bool(generic))
                for layer, index, facts, score, generic in found
            ]

    def layer_counts(self, refinement_id: int) -> list[LayerCount]:
        """Return the layers that hold neurons, by number, each with its part of all fact-neuron pairs."""
        with self._reading() as connection:
            found = connection.execute(neurons.layers(refinement_id)).all()
        total = sum(int(uses) for _, uses, _ in found)
        return [LayerCount(layer, int(uses), int(uses) / total, number) for layer, uses, number in found]

    def sparse_facts(
        self,
        refinement_id: int,
        *,
        at_most: int = 0,
        relation_id: int | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[SparseFact]:
        """Return the facts with at most so many neurons, the fewest first; ties by relation's key, subject, object."""
        wanted = neurons.few_neurons(
            refinement_id, at_most=at_most, relation_id=relation_id, limit=limit, offset=offset
        )
        with self._reading() as connection:
            return [
                SparseFact(row[0], Fact(*row[1 : 1 + _FACT]), RefinedFact(*row[1 + _FACT :]))
                for row in connection.execute(wanted)
            ]

    def overlap(self, refinement_id: int) -> Overlap:
        """Return how many neurons two facts share on average, within and across relations, exact over all pairs."""
        with self._reading() as connection:
            found = connection.execute(overlap.overlap(refinement_id)).all()
        return _overlap([(row[0], *(int(number or 0) for number in row[1:])) for row in found])

    def overlap_matrix(self, refinement_id: int) -> list[SharedNeurons]:
        """Return, for each two relations and each with itself, by key, how many neurons their facts share on average.

        Relations of which no two facts share a neuron are left out.
        """
        with self._reading() as connection:
            found = connection.execute(overlap.matrix(refinement_id)).all()
        return [
            SharedNeurons(one, other, pairs, int(shared) / pairs)
            for one, facts, other, others, shared in found
            if (pairs := facts * (facts - 1) if one == other else facts * others) and shared
        ]

    def put_degenerate_sets(self, refinement_id: int, fact_ids: Collection[int], sets: Iterable[NeuronSet]) -> int:
        """Put in the degenerate sets of these facts, in the place of all earlier ones of theirs; return how many.

        Raise CatalogError for a set of another fact or refinement, or one whose id is not that of its neurons.
        """
        put = {one.set.id: one for one in sets}
        for one in put.values():
            _check_set(one, refinement_id, fact_ids)
        with self._writing() as connection:
            delete_sets(connection, refinement_id, fact_ids)
            add_sets(connection, list(put.values()))
        return len(put)

    def degenerate_sets_of(self, refinement_id: int, fact_id: int) -> list[HeldSet]:
        """Return the fact's degenerate sets, the highest score first; ties by id."""
        with self._reading() as connection:
            return list(_sets(connection.execute(degenerate.sets_of_fact(refinement_id, fact_id)).all()))

    def degenerate_sets_with(self, refinement_id: int, layer: int, index: int) -> list[HeldSet]:
        """Return the sets that hold the neuron, by relation's key, subject and object, then the highest score first."""
        with self._reading() as connection:
            return list(_sets(connection.execute(degenerate.sets_with(refinement_id, layer, index)).all()))

    def edit_impact(self, edit_id: int, *, limit: int = 20) -> Impact:
        """Return which facts outside the edit hold neurons that it changes, protected first, then by share."""
        with self._reading() as connection:
            return _impact(connection.execute(impact.edit_impact(edit_id, limit)).all())

    def fact_impact(
        self, refinement_id: int, fact_id: int, *, roles: Collection[str] = ("fact",), limit: int = 20
    ) -> Impact:
        """Return the same for an edit of one fact through all of its neurons of these roles."""
        with self._reading() as connection:
            return _impact(connection.execute(impact.fact_impact(refinement_id, fact_id, roles, limit)).all())

    def search_facts(self, words: str, *, relation_id: int | None = None, limit: int = 20) -> list[FoundFact]:
        """Return the facts whose subject and object hold all the words, the best match first.

        `word*` is a beginning, `"some words"` a phrase. The databases rank alike, but not equal. Raise CatalogError
        where no word is given, or far too many.
        """
        wanted = search.found_facts(read_words(words), self._engine.dialect.name, relation_id=relation_id, limit=limit)
        with self._reading() as connection:
            return [FoundFact(row[0], Fact(*row[1:])) for row in connection.execute(wanted)]

    def search_prompts(self, words: str, *, relation_id: int | None = None, limit: int = 20) -> list[FoundPrompt]:
        """Return the prompts whose text holds all the words, as `search_facts` does for facts."""
        wanted = search.found_prompts(
            read_words(words), self._engine.dialect.name, relation_id=relation_id, limit=limit
        )
        with self._reading() as connection:
            return [
                FoundPrompt(row[0], Fact(*row[1 : 1 + _FACT]), Prompt(*row[1 + _FACT :]))
                for row in connection.execute(wanted)
            ]


def _use(row: Sequence[Any]) -> NeuronUse:
    return NeuronUse(Fact(*row[:_FACT]), row[_FACT], KnowledgeNeuron(*row[_FACT + 1 :]))


def _fact_neuron(rows: Sequence[Sequence[Any]], users: Sequence[NeuronUse]) -> FactNeuron:
    """Return one neuron from its rows, which differ in their labels."""
    *neuron, facts, relations, reading, label = rows[0]
    labels = () if label is None else tuple(row[-1] for row in rows)
    return FactNeuron(KnowledgeNeuron(*neuron), int(facts) - 1, relations, labels, reading, tuple(users))


def _hub(layer: int, index: int, facts: int, relations: int, *rest: int) -> Hub:
    *counts, n_facts, n_relations = map(int, rest)
    by_role = dict(zip(NEURON_ROLES, counts, strict=True))
    return Hub(layer, index, int(facts), relations, int(facts) / n_facts, relations / n_relations, by_role)


def _overlap(rows: Sequence[tuple[str, int, int, int, int]]) -> Overlap:
    total = sum(facts for _, facts, *_ in rows)
    each = [
        RelationOverlap(
            key, facts, held / facts, _mean(within, facts * (facts - 1)), _mean(across, facts * (total - facts))
        )
        for key, facts, held, within, across in rows
    ]
    return Overlap(
        total,
        _mean(sum(held for _, _, held, _, _ in rows), total),
        _mean(sum(within for *_, within, _ in rows), sum(facts * (facts - 1) for _, facts, *_ in rows)),
        _mean(sum(across for *_, across in rows), sum(facts * (total - facts) for _, facts, *_ in rows)),
        tuple(each),
    )


def _mean(total: int, number: int) -> float | None:
    return total / number if number else None


def _check_set(one: NeuronSet, refinement_id: int, fact_ids: Collection[int]) -> None:
    own = one.set
    if own.refinement_id != refinement_id or own.fact_id not in fact_ids:
        raise CatalogError(f"The degenerate set {show_id(own.id)} is of another fact", cure="Name its fact too.")
    if own.id != DegenerateSet.identify(refinement_id, own.fact_id, one.neurons) or not one.neurons:
        raise CatalogError(f"The degenerate set {show_id(own.id)} is not known by its neurons")


def _sets(rows: Sequence[Sequence[Any]]) -> Iterator[HeldSet]:
    ends = (1, 1 + _FACT, 1 + _FACT + _SET)
    for _, same in groupby(rows, lambda row: row[ends[1]]):
        members = list(same)
        first = members[0]
        places = tuple((row[-2], row[-1]) for row in members)
        own = DegenerateSet(*first[ends[1] : ends[2]])
        yield HeldSet(first[0], Fact(*first[ends[0] : ends[1]]), NeuronSet(own, places))


def _impact(rows: Sequence[Sequence[Any]]) -> Impact:
    protected, others = (int(number) for number in rows[0][:2]) if rows else (0, 0)
    facts = tuple(
        ImpactedFact(row[2], Fact(*row[3 : 3 + _FACT]), int(row[-3]), int(row[-2]), float(row[-1])) for row in rows
    )
    return Impact(protected, others, facts)
