"""New value vectors of planned steps, computed while the checkpoint stays as it is."""

import pytest
import torch

from knedit.editing.embedding import move_to_embedding
from knedit.editing.solve import (
    SOLVERS as REGISTRY,
)
from knedit.editing.solve import (
    ValueChange,
    Weights,
    assign_solvers,
    check_single_token,
    solve,
    solver_of,
    verb_of,
)
from knedit.editing.steps import Neuron, Step
from knedit.errors import EditError
from knedit.models.model import Model, wrap_model
from tests.tiny_models import TINY, VOCABULARY, network, tokenizer

MASKED = ("bert", "roberta")
SOLVERS = {"update": "embedding", "erase": "zero", "erase-relation": "zero"}


def tiny(name: str) -> Model:
    return wrap_model(network(name), tokenizer(masked=name in MASKED))


@pytest.fixture
def llama() -> Model:
    return tiny("llama")


def update(*neurons: Neuron, old: str = "Paris", new: str = "Rome") -> Step:
    return Step("update", f"capital/France={new}", neurons, old, new)


def erase(*neurons: Neuron, operation: str = "erase") -> Step:
    return Step(operation, "capital/Japan", neurons, "Tokyo")


def stored(model: Model, *neurons: Neuron) -> torch.Tensor:
    """Read value vectors from the state dict, without the code under test: [n, D]."""
    rows = []
    for layer, index in neurons:
        weight = model.net.state_dict()[model.layout.down_weight(layer)]
        rows.append(weight[index] if model.layout.family.neuron_axis == 0 else weight[:, index])
    return torch.stack(rows).double()


def moved(model: Model, values: torch.Tensor, old: str, new: str) -> torch.Tensor:
    head = model.net.get_output_embeddings().weight.detach()
    return move_to_embedding(values, head[VOCABULARY[old]], head[VOCABULARY[new]])


def assert_changes(
    found: list[ValueChange],
    expected: list[tuple[int, tuple[int, ...], torch.Tensor, torch.Tensor]],
    dtype: torch.dtype = torch.float32,
) -> None:
    assert [(change.layer, change.indices) for change in found] == [(layer, indices) for layer, indices, *_ in expected]
    for change, (_, _, old, new) in zip(found, expected, strict=True):
        assert (change.old.dtype, change.new.dtype) == (dtype, torch.float64)
        assert torch.equal(change.old.double(), old)
        assert torch.equal(change.norms, torch.stack([old.norm(dim=1), change.new.norm(dim=1)], dim=1))
        torch.testing.assert_close(change.new, new, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TINY)
def test_changes_are_one_a_layer_ascending_whatever_the_order_of_choice(name: str) -> None:
    model = tiny(name)
    one, two, three = (stored(model, *neurons) for neurons in ([(0, 2), (0, 40)], [(1, 7)], [(2, 0), (2, 5)]))
    found = solve(model, [update((2, 5), (0, 40), (1, 7)), erase((2, 0), (0, 2))], SOLVERS)
    nothing = torch.zeros_like(two)
    assert_changes(
        found,
        [
            (0, (2, 40), one, torch.cat([nothing, moved(model, one[1:], "Paris", "Rome")])),
            (1, (7,), two, moved(model, two, "Paris", "Rome")),
            (2, (0, 5), three, torch.cat([nothing, moved(model, three[1:], "Paris", "Rome")])),
        ],
    )


@pytest.mark.parametrize("name", TINY)
def test_the_network_is_bit_identical_afterwards(name: str) -> None:
    model = tiny(name)
    before = {key: tensor.clone() for key, tensor in model.net.state_dict().items()}
    for change in solve(model, [update((0, 1)), erase((1, 1)), erase((2, 2), operation="erase-relation")], SOLVERS):
        change.old.fill_(7)
        change.new.fill_(7)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.net.state_dict().items())


def test_steps_are_carried_out_in_their_order(llama: Model) -> None:
    """An update finds what the step before it left; the other way round the erasure has the last word."""
    values = stored(llama, (1, 3))
    twice = [update((1, 3)), update((1, 3), old="Rome", new="Oslo")]
    weak = Weights(embedding=(1.0, 2.0))
    head = llama.net.get_output_embeddings().weight.detach()
    paris, rome, oslo = (head[VOCABULARY[word]] for word in ("Paris", "Rome", "Oslo"))
    once = move_to_embedding(values, paris, rome, weights=(1.0, 2.0))
    assert_changes(
        solve(llama, twice, SOLVERS, weak),
        [(1, (3,), values, move_to_embedding(once, rome, oslo, weights=(1.0, 2.0)))],
    )
    assert_changes(
        solve(llama, [update((1, 3)), erase((1, 3))], SOLVERS), [(1, (3,), values, torch.zeros_like(values))]
    )
    assert_changes(
        solve(llama, [erase((1, 3)), update((1, 3))], SOLVERS), [(1, (3,), values, torch.zeros_like(values))]
    )


def test_weights_in_half_precision_are_solved_in_float64() -> None:
    model = wrap_model(network("gpt2").to(torch.bfloat16), tokenizer(masked=False))
    values = stored(model, (0, 9))
    wished = moved(model, values, "Paris", "Rome")
    assert_changes(solve(model, [update((0, 9))], SOLVERS), [(0, (9,), values, wished)], torch.bfloat16)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_result_that_is_not_finite_is_refused(llama: Model, value: float) -> None:
    with torch.no_grad():
        llama.downs[1].get_parameter("weight")[4, 3] = value
    with pytest.raises(EditError, match="the solver's result is not finite") as caught:
        solve(llama, [update((1, 2), (1, 3))], SOLVERS)
    assert caught.value.where == "capital/France=Rome"


def test_a_value_vector_may_grow_to_sixteen_times_its_norm_and_no_further(llama: Model) -> None:
    """With λ₁ = 0 and the new answer's embedding along the value vector, the norm grows by 1 + λ₂."""
    with torch.no_grad():
        llama.net.get_output_embeddings().weight[VOCABULARY["Rome"]] = llama.downs[1].get_parameter("weight")[:, 3]
    [change] = solve(llama, [update((1, 3))], SOLVERS, Weights(embedding=(0.0, 14.99)))
    assert float(change.new.norm() / change.old.norm()) == pytest.approx(15.99)
    with pytest.raises(EditError, match=r"would grow to 16\.1 times its norm, more than 16"):
        solve(llama, [update((1, 2), (1, 3))], SOLVERS, Weights(embedding=(0.0, 15.1)))


def test_an_edit_that_changes_nothing_is_refused(llama: Model) -> None:
    with torch.no_grad():
        llama.downs[0].get_parameter("weight")[:, 5] = 0
    for steps in ([erase((0, 5))], [erase((0, 5)), update((0, 5))], []):
        with pytest.raises(EditError, match="the edit changes nothing"):
            solve(llama, steps, SOLVERS)
    with pytest.raises(EditError, match="the edit changes nothing"):
        solve(llama, [update((1, 1))], SOLVERS, Weights(embedding=(0.0, 0.0)))
    assert [change.layer for change in solve(llama, [erase((0, 5), (1, 1))], SOLVERS)] == [0, 1]


@pytest.mark.parametrize(
    ("operation", "name", "choices"),
    [
        ("update", "zero", "embedding"),
        ("update", "nothing", "embedding"),
        ("erase", "embedding", "zero"),
        ("erase-relation", "", "zero"),
    ],
)
def test_an_unknown_solver_is_refused_and_the_known_ones_are_named(
    llama: Model, operation: str, name: str, choices: str
) -> None:
    with pytest.raises(EditError, match=f"no solver {name!r} for the operation {operation}") as caught:
        solver_of(operation, name)
    assert choices in caught.value.cure
    step = Step(operation, "x", ((0, 0),), "Paris", "Rome")
    with pytest.raises(EditError, match="no solver"):
        solve(llama, [step], SOLVERS | {operation: name})


def test_a_solver_goes_to_the_operations_that_know_it() -> None:
    paper = {"update": "embedding", "erase": "zero", "amplify": "scale"}
    assert [assign_solvers(names) for names in (("embedding",), ("zero",), ("zero", "embedding"))] == [paper] * 3
    own = {**paper, "update": "closed-form", "erase": "prior"}
    assert [assign_solvers(names) for names in ((), ("closed-form",), ("prior", "closed-form"))] == [own] * 3
    assert assign_solvers(("closed-form", "unk")) == {**own, "erase": "unk"}
    assert assign_solvers(("zero", "optimised")) == {**paper, "update": "optimised"}
    with pytest.raises(
        EditError, match=r"no solver 'magic' \(edit\)\. Choose among embedding, closed-form, optimised, zero"
    ):
        assign_solvers(["zero", "magic"])


def test_the_unknown_token_takes_the_place_of_value_vectors() -> None:
    model = tiny("bert")
    values = stored(model, (0, 1), (2, 5))
    found = solve(model, [erase((0, 1), (2, 5))], {**SOLVERS, "erase": "unk"})
    unknown = model.net.get_output_embeddings().weight.detach()[VOCABULARY["[UNK]"]].double()
    assert_changes(found, [(0, (1,), values[:1], unknown[None]), (2, (5,), values[1:], unknown[None])])


def test_a_tokenizer_whose_unknown_token_ends_texts_has_none_to_erase_with() -> None:
    model = tiny("gpt2")
    model.tokenizer.eos_token = "[UNK]"
    with pytest.raises(EditError, match="has no unknown token") as caught:
        solve(model, [erase((0, 1))], {**SOLVERS, "erase": "unk"})
    assert caught.value.where == "capital/Japan"


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_amplifying_scales_value_vectors(llama: Model, factor: float) -> None:
    values = stored(llama, (1, 3))
    step = Step("amplify", "capital/Japan", ((1, 3),), "Tokyo")
    found = solve(llama, [step], {"amplify": "scale"}, Weights(scale=factor))
    assert_changes(found, [(1, (3,), values, values * factor)])


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_no_number_to_scale_by_is_refused(llama: Model, factor: float) -> None:
    step = Step("amplify", "capital/Japan", ((1, 3),), "Tokyo")
    with pytest.raises(EditError, match="is no factor to scale by"):
        solve(llama, [step], {"amplify": "scale"}, Weights(scale=factor))


def test_every_named_solver_is_found() -> None:
    assert sorted(REGISTRY) == ["amplify", "erase", "update"]
    for operation in (*REGISTRY, "erase-relation"):
        named = REGISTRY[verb_of(operation)]
        assert [solver_of(operation, name) for name in named] == list(named.values())


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_new_answer_of_several_tokens_is_refused_and_an_old_one_is_not(name: str) -> None:
    model = tiny(name)
    with pytest.raises(EditError, match="the new answer 'big city' is 2 tokens, and the solver embedding needs one"):
        solve(model, [update((0, 1), new="big city")], SOLVERS)
    with pytest.raises(EditError, match="2 tokens") as caught:
        check_single_token(model, "big city", "here")
    assert caught.value.where == "here"
    check_single_token(model, "city", "here")
    values = stored(model, (0, 1))
    found = solve(model, [update((0, 1), old="old city")], SOLVERS)
    assert_changes(found, [(0, (1,), values, moved(model, values, "old", "Rome"))])
