"""The contestants: each gives the scores [L, F] of one prompt, over the neurons at the position that says the answer.

`knedit` is measured through its public calls. `eleutherai` is the library knowledge-neurons, `captum` Captum's layer
integrated gradients, `loop` the whole network forward and backward for every layer. Knows no clocks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from knedit.attribution.attribute_prompt import Attribution, attribute_queries
from knedit.attribution.method import Method
from knedit.errors import KneditError
from knedit.models.hooks import changed_inputs, watched_inputs
from knedit.models.model import Model
from knedit.models.prompting import Query

STEPS = 20
GIB = 2**30
MODULES = {"EleutherAI": "knowledge_neurons", "Captum": "captum.attr"}
_ROWS = 20


def check_installed(*modules: str) -> None:
    """Raise KneditError, with the command that helps, where the benchmark's own packages are missing."""
    missing = [module for module in modules if find_spec(module.partition(".")[0]) is None]
    if missing:
        raise KneditError(
            f"not installed: {', '.join(missing)}",
            "the benchmark's own packages",
            "Run: pip install -c constraints.txt -e '.[bench]'.",
        )


def knedit(
    model: Model,
    queries: Sequence[Query],
    *,
    rule: str = "adaptive",
    steps: int | None = None,
    tolerance: float = 0.01,
    memory: int = 2 * GIB,
    batch: int = 16,
) -> list[Attribution]:
    method = Method(rule=rule, steps=steps, tolerance=tolerance)
    return attribute_queries(model, queries, method, memory=memory, batch=batch)


def eleutherai(model: Model, query: Query) -> Tensor:
    """Return what EleutherAI's library gives, told to look at the activation's output and to run its steps at once."""
    from knowledge_neurons import KnowledgeNeurons

    kind = "bert" if model.masked else "gpt2"
    asked = KnowledgeNeurons(model.net, model.tokenizer, model_type=kind, device=str(model.device))
    if not model.masked:
        asked.input_ff_attr = "mlp.act"
    text = " ".join(model.tokenizer.convert_ids_to_tokens(list(query.tokens)))
    answer = model.tokenizer.convert_ids_to_tokens(query.answers[0])
    found = asked.get_scores(text, answer, batch_size=STEPS, steps=STEPS, pbar=False)
    assert isinstance(found, Tensor)
    return found.detach()


def captum(model: Model, query: Query) -> Tensor:
    """Return what Captum's layer integrated gradients give, layer after layer, over the down projection's input.

    Captum takes the path's beginning from a run on a baseline input. That input is marked by negative tokens, and
    while it runs the neurons at the answer's position are 0 and the others as they are: so the path is knedit's.
    """
    from captum.attr import LayerIntegratedGradients

    (at,), (answer,) = query.positions, query.answers
    ids = torch.tensor([query.tokens], device=model.device)
    is_start = False

    def probability(tokens: Tensor) -> Tensor:
        nonlocal is_start
        is_start = bool((tokens < 0).all())
        logits: Tensor = model.net(-1 - tokens if is_start else tokens).logits[:, at]
        return logits.float().softmax(-1)[:, answer]

    def begin(_: int, x: Tensor) -> Tensor:
        return x.index_fill(1, torch.tensor([at], device=x.device), 0.0) if is_start else x

    rows = []
    for down in model.downs:
        with changed_inputs([down], begin):
            found = LayerIntegratedGradients(probability, down).attribute(
                ids, baselines=-1 - ids, n_steps=STEPS, method="riemann_right", attribute_to_layer_input=True
            )
        rows.append(found[0, at].detach())
    return torch.stack(rows)


def loop(
    model: Model,
    query: Query,
    points: Sequence[float],
    weights: Sequence[float],
    layers: Sequence[int] | None = None,
) -> Tensor:
    """Return the sum of a rule with these points over the literal network, 20 rows of one layer at once."""
    (at,), (answer,) = query.positions, query.answers
    ids = torch.tensor([query.tokens], device=model.device)
    with torch.no_grad(), watched_inputs(model.downs) as seen:
        model.net(ids)
    rows = []
    for layer in range(len(model.downs)) if layers is None else layers:
        own = seen[layer][0][0, at].detach()
        total = torch.zeros_like(own)
        for first in range(0, len(points), _ROWS):
            scale = torch.tensor(points[first : first + _ROWS], device=own.device, dtype=own.dtype)
            leaf = (scale[:, None] * own).requires_grad_()
            with _planted(model.downs[layer], at, leaf):
                logits = model.net(ids.expand(len(leaf), -1)).logits[:, at]
            said = logits.float().softmax(-1)[:, answer].sum()
            total += (
                torch.tensor(weights[first : first + _ROWS], device=own.device) @ torch.autograd.grad(said, leaf)[0]
            )
        rows.append(own * total)
    return torch.stack(rows)


@contextmanager
def _planted(down: nn.Module, at: int, leaf: Tensor) -> Iterator[None]:
    def plant(_: int, x: Tensor) -> Tensor:
        changed: Any = x.clone()
        changed[:, at] = leaf
        return changed  # type: ignore[no-any-return]

    with changed_inputs([down], plant):
        yield
