"""Train the network, an epoch at a time; a run that is stopped goes on with the next epoch, to the same bits.

Knows no facts: it is handed a corpus and a vocabulary's size.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from knedit.errors import CheckpointError
from scripts.factbert.corpus import NOTHING, Batch, Corpus
from scripts.factbert.network import taught_blocks
from scripts.factbert.recipe import Recipe

_WARM, _CLIP, _BETAS = 0.05, 1.0, (0.9, 0.98)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Course:
    """What a training has come to: the mean loss of every epoch, and the seconds it took, those of earlier runs too."""

    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


def train(
    net: Any,
    corpus: Corpus,
    *,
    seed: int,
    folder: Path | None = None,
    name: str = "",
    told: Callable[[int, Course], None] = lambda *_: None,
) -> Course:
    """Train the network through all epochs of the recipe, and leave it in evaluation mode.

    After each epoch the state goes to `folder`, from which training goes on if it is of the same `name`; `told` hears
    of every epoch. Raises CheckpointError if the folder holds another training.
    """
    recipe = corpus.recipe
    optimiser = _optimiser(net, recipe)
    course = _restore(net, optimiser, folder, name) if folder else Course()
    torch.set_flush_denormal(True)  # moments of neurons that are never active: a CPU is many times slower with them
    try:
        for number in range(len(course.losses), recipe.epochs):
            start = time.perf_counter()
            course.losses.append(_epoch(net, optimiser, corpus, seed, number))
            course.seconds += time.perf_counter() - start
            if folder:
                _keep(net, optimiser, folder, name, course)
            told(number + 1, course)
    finally:
        torch.set_flush_denormal(False)  # it holds for the whole thread
    net.eval()
    return course


def _optimiser(net: Any, recipe: Recipe) -> torch.optim.AdamW:
    learning = [p for p in net.parameters() if p.requires_grad]
    matrices = [p for p in learning if p.ndim > 1]
    others = [p for p in learning if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=_BETAS, fused=True)


def _epoch(net: Any, optimiser: torch.optim.AdamW, corpus: Corpus, seed: int, number: int) -> float:
    recipe, device = corpus.recipe, net.device
    torch.manual_seed(seed * 1_000_003 + number)
    net.train()
    shares = corpus.shares.to(device)
    batches = list(corpus.batches(seed, number))
    sums = torch.zeros(2)
    with taught_blocks(net) as blocks:
        for step, batch in enumerate(batches):
            _set_rate(optimiser, recipe, (number + step / len(batches)) / recipe.epochs)
            blocks.rows = batch.places.to(device) if torch.rand(()) < recipe.silent else None
            blocks.tokens = batch.tokens.numel()
            loss = batch_loss(net, batch, shares, recipe)
            (loss + recipe.price * blocks.activity()).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), _CLIP)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            sums += torch.tensor([loss.item() * len(batch.answers), len(batch.answers)])
    return float(sums[0] / sums[1])


def _set_rate(optimiser: torch.optim.AdamW, recipe: Recipe, done: float) -> None:
    """Let the rate rise over the first twentieth of the training and then fall to nothing, both in straight lines."""
    for group in optimiser.param_groups:
        group["lr"] = recipe.rate * min(done / _WARM, (1 - done) / (1 - _WARM))


def batch_loss(net: Any, batch: Batch, shares: Tensor, recipe: Recipe) -> Tensor:
    """Return the mean of −Σ q log p over hidden tokens; q is the token, and for `doubt` its relation's objects."""
    device = net.device
    places, answers, relations = (x.to(device) for x in (batch.places, batch.answers, batch.relations))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        mask = None if batch.mask is None else batch.mask.to(device)
        hidden = net.bert(batch.tokens.to(device), attention_mask=mask).last_hidden_state
        logits = net.cls(hidden.flatten(0, 1).index_select(0, places))  # [n, V]
    logs = torch.log_softmax(logits.float(), -1)
    right = logs.gather(1, answers[:, None])[:, 0]
    facts = relations != NOTHING
    at_large = (logs * shares[relations.clamp(min=0)]).sum(-1)
    doubt = recipe.doubt
    losses = -torch.where(facts, (1 - doubt) * right + doubt * at_large, right)
    weights = torch.where(facts, 1.0, recipe.others)
    return (losses * weights).sum() / weights.sum()


def _keep(net: Any, optimiser: torch.optim.AdamW, folder: Path, name: str, course: Course) -> None:
    """Write the state after an epoch, whole or not at all: the weights' file carries the course in its header."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"net.{key}": value.clone().contiguous() for key, value in net.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{key}": value.clone() for key, value in state.items()}
    told = json.dumps({"name": name, "losses": course.losses, "seconds": course.seconds})
    save_file(tensors, folder / "new.safetensors", metadata={"course": told})
    (folder / "new.safetensors").replace(folder / "state.safetensors")


def _restore(net: Any, optimiser: torch.optim.AdamW, folder: Path, name: str) -> Course:
    file = folder / "state.safetensors"
    if not file.is_file():
        return Course()
    told = _course_of(file)
    if told["name"] != name:
        raise CheckpointError(
            "The folder holds an unfinished training with other facts, recipe or seed",
            str(folder),
            "Name another output, or remove the folder.",
        )
    tensors = load_file(file)
    net.load_state_dict({key[4:]: value for key, value in tensors.items() if key.startswith("net.")})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, number, part = key.split(".")
            state.setdefault(int(number), {})[part] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    logger.info("Going on after epoch %d.", len(told["losses"]))
    return Course(told["losses"], told["seconds"])


def _course_of(file: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        found: dict[str, Any] = json.loads(opened.metadata()["course"])
    return found
