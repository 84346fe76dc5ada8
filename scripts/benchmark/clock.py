"""Clocks: contestants in turn, medians, and how many operations a contestant's matrix products are.

Knows nothing of what is measured.
"""

import gc
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Work:
    """A contestant's floating-point operations in matrix products, and the shapes (batch, M, K, N) of these."""

    flops: int
    shapes: Mapping[Shape, int]


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the matrix products by shape."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes: Counter[Shape] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        name = func.overloadpacket.__name__
        if name in ("mm", "addmm", "bmm", "baddbmm"):
            left, right = args[-2:]
            batch = left.shape[0] if left.ndim == 3 else 1
            self.shapes[batch, left.shape[-2], left.shape[-1], right.shape[-1]] += 1
        return func(*args, **(kwargs or {}))


def watched(run: Callable[[], Any]) -> tuple[Any, Work]:
    """Run once, untimed; return what it gave and the work that it was."""
    with FlopCounterMode(display=False) as counter, _Products() as products:
        found = run()
    return found, Work(counter.get_total_flops(), products.shapes)


def plain_products(work: Work, *, device: torch.device, dtype: torch.dtype) -> Callable[[], None]:
    """Return a contestant that does the work's matrix products, each as often, and nothing else.

    All share three stretches of memory, which is in their favour: what they read may still be in the caches.
    """
    sizes = [(batch * m * k, batch * k * n, batch * m * n) for batch, m, k, n in work.shapes]
    lefts, rights, places = (torch.randn(max(size), device=device, dtype=dtype) for size in zip(*sizes, strict=True))

    def run() -> None:
        for (batch, m, k, n), times in work.shapes.items():
            left = lefts[: batch * m * k].view(batch, m, k)
            right = rights[: batch * k * n].view(batch, k, n)
            place = places[: batch * m * n].view(batch, m, n)
            for _ in range(times):
                if batch == 1:
                    torch.mm(left[0], right[0], out=place[0])
                else:
                    torch.bmm(left, right, out=place)

    return run


def flops_of(shape: Shape) -> int:
    batch, m, k, n = shape
    return 2 * batch * m * k * n


def seconds(run: Callable[[], Any]) -> float:
    """Return how long a run takes, on the GPU too until it is really done."""
    _settle()
    began = perf_counter()
    run()
    _settle()
    return perf_counter() - began


def _settle() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alternate(contestants: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Time every contestant once a round, each round beginning with the next of them; return seconds by name."""
    names = list(contestants)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        gc.collect()
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(seconds(contestants[name]))
    return taken


def medians(taken: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: median(times) for name, times in taken.items()}
