"""Which neurons an edit takes, of refined neurons made by hand."""

import pytest

from knedit.editing.choose import neurons_of_fact, neurons_of_relation
from knedit.errors import EditError
from knedit.records import KnowledgeNeuron

EVERY = ("fact", "relation", "generic")


def neuron(layer: int, index: int, score: float, role: str = "fact") -> KnowledgeNeuron:
    return KnowledgeNeuron(1, 2, layer, index, 1.0, score, role)


HELD = [
    neuron(1, 7, 0.2),
    neuron(0, 3, 0.9, "generic"),
    neuron(2, 1, 0.5, "relation"),
    neuron(0, 9, 0.4),
    neuron(3, 3, 0.7),
]


@pytest.mark.parametrize(
    ("roles", "chosen"),
    [
        (["fact"], ((3, 3), (0, 9), (1, 7))),
        (["relation"], ((2, 1),)),
        (["relation", "fact"], ((3, 3), (2, 1), (0, 9), (1, 7))),
        (EVERY, ((0, 3), (3, 3), (2, 1), (0, 9), (1, 7))),
    ],
)
def test_a_facts_neurons_of_the_wished_roles_come_by_falling_score(
    roles: list[str], chosen: tuple[tuple[int, int], ...]
) -> None:
    assert neurons_of_fact(HELD, roles=roles, target="capital/France") == chosen
    assert neurons_of_fact(iter(HELD[::-1]), roles=set(roles), target="capital/France") == chosen


def test_ties_are_broken_by_layer_and_index() -> None:
    tied = [neuron(2, 0, 0.5), neuron(1, 9, 0.5), neuron(1, 2, 0.5), neuron(3, 0, 0.6)]
    assert neurons_of_fact(tied, roles=["fact"], target="x") == ((3, 0), (1, 2), (1, 9), (2, 0))


def test_what_an_erasure_took_is_left_out() -> None:
    chosen = neurons_of_fact(HELD, roles=["fact"], target="x", taken={(3, 3), (1, 7), (2, 1), (5, 5)})
    assert chosen == ((0, 9),)


def test_no_neuron_left_is_an_error_that_tells_what_there_was() -> None:
    with pytest.raises(EditError, match="there are 3 fact, 1 relation, 1 generic") as caught:
        neurons_of_fact(HELD, roles=[], target="capital/France")
    assert caught.value.where == "capital/France"
    assert "--roles" in caught.value.cure
    with pytest.raises(EditError, match="there are 3 fact"):
        neurons_of_fact(HELD, roles=["relation"], target="x", taken=[(2, 1)])
    with pytest.raises(EditError, match="there are 0 fact, 0 relation, 0 generic"):
        neurons_of_fact([], roles=EVERY, target="x")


def test_a_relations_neurons_are_the_first_of_the_ranking() -> None:
    ranked = [(3, 1), (0, 5), (2, 2)]
    assert neurons_of_relation(ranked, limit=2, target="x") == ((3, 1), (0, 5))
    assert neurons_of_relation(iter(ranked), limit=9, target="x") == ((3, 1), (0, 5), (2, 2))


def test_a_relation_without_neurons_is_an_error() -> None:
    with pytest.raises(EditError, match="no neuron is left to erase") as caught:
        neurons_of_relation([], limit=5, target="capital")
    assert caught.value.where == "capital"
