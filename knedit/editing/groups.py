"""Which of a fact's contexts one key can speak for, and the mean keys that a fact is solved for. Knows no model.

Shapes: n contexts, g groups, F neurons of a layer.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Groups = tuple[tuple[int, ...], ...]
Chosen = dict[int, tuple[tuple[int, ...], float]]  # columns and their editability, by layer
APART = 0.25  # of the editability of one mean key, which keys of several groups must have at least


def alike(keys: Mapping[int, Tensor], *, least: float = 0.5) -> Groups:
    """Return the contexts, by number, in groups of which one key can speak: those like the first, and the others.

    `keys` [n, F] a layer; contexts are alike whose keys have a cosine of `least` or more, the mean over the layers. A
    subject that begins a text is often unlike the same subject further on, for its tokens take part in what the first
    token does for the whole text.
    """
    cosines = torch.stack([torch.cosine_similarity(rows, rows[:1], dim=1) for rows in keys.values()]).mean(0)
    first = tuple(number for number, cosine in enumerate(cosines.tolist()) if number == 0 or cosine >= least)
    others = tuple(number for number in range(len(cosines)) if number not in first)
    return (first, others) if others else (first,)


def mean_keys(keys: Tensor, weights: Sequence[float], groups: Groups) -> Tensor:
    """Return the weighted mean of each group of keys [n, F]: the keys [g, F] that a fact is solved for.

    Source: r-ROME (Gupta et al., 2024), which has one for all contexts.
    """
    counts = torch.tensor(weights, dtype=torch.float64)
    chosen = [list(group) for group in groups]
    return torch.stack([(counts[some, None] * keys[some]).sum(0) / counts[some].sum() for some in chosen])


def grouped(
    keys: Mapping[int, Tensor], shared: Sequence[int], choose: Callable[[Groups], Chosen]
) -> tuple[Groups, Chosen]:
    """Return the groups of contexts that a fact is solved for, and its columns; of several only where none is too dear.

    A key of its own may be so short that to answer it harms everything; the `shared` contexts are then solved by one.
    """
    groups = alike(keys)
    chosen = choose(groups)
    if len(groups) > 1:
        one: Groups = (tuple(shared),)
        other = choose(one)
        if sum(e for _, e in chosen.values()) < APART * sum(e for _, e in other.values()):
            return one, other
    return groups, chosen
