"""An edit as a LoRA adapter that PEFT loads: what it adds to each weight, as the product of two low matrices.

Knows nothing of networks and of where the numbers come from. A weight of which n value vectors change is changed by a
matrix of rank n at most, so one of the two matrices chooses these n and the other holds what is added to them, with
nothing lost. At a lower rank the product is the nearest there is (Eckart and Young, 1936), and the error is told.

Source of the layout: PEFT 0.21, `tuners/lora`. Scaling is 1 throughout. Shapes: n vectors, D hidden, F neurons of a
weight, r rank, E experts whose weights are stacked in one parameter.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from knedit.checkpoints.dtypes import Floats
from knedit.checkpoints.folder import SUMS
from knedit.checkpoints.staging import explained, refuse_existing, staged, write_file
from knedit.checkpoints.sums import sums_text

WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "README.md"


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """What is added to the value vectors `indices` of one weight of `width` F: float64 [n, D]."""

    indices: tuple[int, ...]
    vectors: Floats


@dataclass(frozen=True, slots=True, eq=False)
class AdaptedModule:
    """A module by its path in the network, and what is added to its weight, or to those of its experts by number.

    `parameter` is the stack's name where there are `n_experts`, else there is one weight, number 0, and no name.
    """

    module: str
    width: int
    added: Mapping[int, Added]
    n_experts: int = 0
    parameter: str = ""

    @property
    def target(self) -> str:
        """What PEFT calls it."""
        return f"{self.module}.{self.parameter}" if self.n_experts else self.module

    @property
    def columns(self) -> int:
        return sum(len(one.indices) for one in self.added.values())


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """A module's matrices, float32 A [r, F] and B [D, r] (of experts A [E × r, F] and B [D, r × E]), and their error.

    Of what is added, W, and what the product gives, V: `error` is ‖V − W‖ / ‖W‖, `largest` max |V − W|.
    """

    module: AdaptedModule
    rank: int
    a: Floats
    b: Floats
    error: float
    largest: float


def factors_of(modules: Sequence[AdaptedModule], rank: int | None = None) -> list[Factors]:
    """Return the two matrices of each module, exact up to float32, or of at most `rank` for each of its weights.

    All stacks of experts have one rank: PEFT warns of parameters whose rank is not the usual one.
    """
    ranks = [max(min(len(one.indices), rank or math.inf) for one in module.added.values()) for module in modules]
    stacked = max((own for own, module in zip(ranks, modules, strict=True) if module.n_experts), default=0)
    return [
        _factors(module, int(stacked if module.n_experts else own)) for own, module in zip(ranks, modules, strict=True)
    ]


def _factors(module: AdaptedModule, limit: int) -> Factors:
    count = max(module.n_experts, 1)
    depth = next(iter(module.added.values())).vectors.shape[1]
    a, b = np.zeros((count, limit, module.width), np.float32), np.zeros((depth, limit, count), np.float32)
    squares, largest = np.zeros(2), 0.0
    for number, one in module.added.items():
        left, right = _factor(one.vectors.T, limit)  # [D, r], [r, n]
        a[number, : len(right), list(one.indices)] = right.T
        b[:, : left.shape[1], number] = left
        missed = left.astype(np.float64) @ right.astype(np.float64) - one.vectors.T
        squares += (missed**2).sum(), (one.vectors**2).sum()
        largest = max(largest, float(np.abs(missed).max()))
    flat = a.reshape(count * limit, -1), b.reshape(depth, -1)
    return Factors(module, limit, *flat, math.sqrt(squares[0] / squares[1]), largest)


def _factor(matrix: Floats, rank: int) -> tuple[Floats, Floats]:
    """Return float32 matrices [D, r] and [r, n] whose product is `matrix`, or the nearest to it of this rank."""
    if rank >= matrix.shape[1]:
        return matrix.astype(np.float32), np.eye(matrix.shape[1], dtype=np.float32)
    left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
    roots = np.sqrt(sizes[:rank])
    return (left[:, :rank] * roots).astype(np.float32), (roots[:, None] * right[:rank]).astype(np.float32)


def adapter_config(factors: Sequence[Factors], **own: Any) -> dict[str, Any]:
    """Return what `adapter_config.json` tells PEFT; `own` are further fields of it, such as the base's name."""
    ranks = {one.module.target: one.rank for one in factors}
    largest = max(ranks.values())
    pattern = {target: rank for target, rank in ranks.items() if rank != largest}
    return {
        "peft_type": "LORA",
        "inference_mode": True,
        "r": largest,
        "lora_alpha": largest,  # the product is divided by r and multiplied by this
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [one.module.target for one in factors if not one.module.n_experts],
        "target_parameters": [one.module.target for one in factors if one.module.n_experts] or None,
        **own,
    }


def write_adapter(output: Path, factors: Sequence[Factors], config: Mapping[str, Any], card: str) -> None:
    """Write the adapter with its README.md as the new folder `output`, whole or not at all. Raises CheckpointError."""
    refuse_existing(output)
    tensors = {}
    for one in factors:
        tensors[f"base_model.model.{one.module.module}.lora_A.weight"] = one.a
        tensors[f"base_model.model.{one.module.module}.lora_B.weight"] = one.b
    files = {WEIGHTS: save(tensors, {"format": "pt"}), CONFIG: _json(config), CARD: card.encode()}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[SUMS] = sums_text(sums).encode()
    with explained(output, sum(map(len, files.values()))):
        output.parent.mkdir(parents=True, exist_ok=True)
        with staged(output) as folder:
            for name, content in files.items():
                write_file(folder / name, content)


def _json(table: Mapping[str, Any]) -> bytes:
    return (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode()
