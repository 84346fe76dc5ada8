"""A symmetric matrix in little more than half its memory: panels of rows, each as far as its last row's diagonal.

What is asked of it is float64. Knows nothing of what it is a matrix of.

Shapes: F rows, n keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_PANELS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Symmetric:
    """Panels [rows, rows up to their last] of a matrix [F, F], from the first row to the last."""

    panels: tuple[Tensor, ...]

    @classmethod
    def zeros(cls, width: int, dtype: torch.dtype = torch.float32) -> "Symmetric":
        rows = -(-width // _PANELS)
        ends = [min(first + rows, width) for first in range(0, width, rows)]
        return cls(
            tuple(torch.zeros(end - first, end, dtype=dtype) for first, end in zip([0, *ends], ends, strict=False))
        )

    @classmethod
    def of(cls, matrix: Tensor) -> "Symmetric":
        """Return a symmetric matrix in panels."""
        found = cls.zeros(len(matrix), matrix.dtype)
        for first, panel in found._begun():
            panel.copy_(matrix[first : first + len(panel), : panel.shape[1]])
        return found

    def __len__(self) -> int:
        return self.panels[-1].shape[1]

    def add_outer(self, keys: Tensor, times: float = 1.0) -> None:
        """Add so many times the sum of k kᵀ over keys [n, F] of its own precision."""
        for first, panel in self._begun():
            end = panel.shape[1]
            panel.addmm_(keys[:, first:end].T, keys[:, :end], alpha=times)

    def divide(self, number: float) -> None:
        for panel in self.panels:
            panel.div_(number)

    def add(self, other: "Symmetric") -> None:
        """Add a matrix of the same size and precision."""
        for panel, more in zip(self.panels, other.panels, strict=True):
            panel.add_(more)

    def diagonal(self) -> Tensor:
        return torch.cat([panel.diagonal(first) for first, panel in self._begun()]).double()

    def row(self, number: int) -> Tensor:
        parts = []
        for first, panel in self._begun():
            if first <= number < panel.shape[1]:
                parts.append(panel[number - first])
            elif number < first:
                parts.append(panel[:, number])
        return torch.cat(parts).double()

    def block(self, numbers: Sequence[int]) -> Tensor:
        """Return some rows' and the same columns' part, in the order of their numbers."""
        chosen = torch.tensor(numbers, dtype=torch.long)
        found = torch.empty(len(chosen), len(chosen), dtype=torch.float64)
        for first, panel in self._begun():
            rows = ((chosen >= first) & (chosen < panel.shape[1])).nonzero()[:, 0]
            columns = (chosen < panel.shape[1]).nonzero()[:, 0]
            part = panel[chosen[rows] - first][:, chosen[columns]].double()
            found[rows[:, None], columns] = part
            found[columns[:, None], rows] = part.T
        return found

    def _begun(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the panels with the number of their first row."""
        for panel in self.panels:
            yield panel.shape[1] - len(panel), panel
