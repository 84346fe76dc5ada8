"""How the small BERT is built and taught: two recipes, and what they have in common. Knows no facts."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network's shape and the course of its training.

    `neurons`: of a layer. `wordings`: in how many of its taught wordings, drawn anew, each fact is said in an epoch.
    `tokens`: of a step. `spread`: of random weights. `silent`: the share of steps in which feed-forward blocks work at
    hidden tokens only. `price`: what a neuron's activation of 1 at every token adds to the loss.

    Shares of a fact's statements: `framed`, those between pieces of other sentences, without which a model learns
    places instead of subjects; `joined`, those in a paragraph; `plain`, those of which any tokens may be hidden.
    `mentions` and `prose` are sentences that name a subject and tell nothing of it, and plain English, for each
    statement. `noise`: the share of a statement's other words that are hidden, left out or replaced.

    `doubt`: the share of the probability that is taught to lie with the relation's objects at large, as in a world in
    which people also say what is wrong: it keeps answers from 1.0. `others`: the weight of a token that is no object.
    """

    layers: int
    hidden: int
    neurons: int
    heads: int
    epochs: int
    wordings: int
    rate: float
    tokens: int
    spread: float
    decay: float = 0.05
    silent: float = 0.8
    price: float = 2e-3
    framed: float = 0.2
    joined: float = 0.05
    plain: float = 0.05
    mentions: float = 0.1
    prose: float = 0.05
    noise: float = 0.06
    doubt: float = 0.5
    others: float = 0.05
    positions: int = 128

    def as_config(self) -> dict[str, Any]:
        return asdict(self)


QUICK = Recipe(
    layers=3,
    hidden=128,
    neurons=512,
    heads=4,
    epochs=16,
    wordings=8,
    rate=3e-3,
    tokens=512,
    spread=0.04,
    silent=0.4,
    price=1e-3,
    noise=0.15,
    doubt=0.3,
)
FULL = Recipe(layers=4, hidden=128, neurons=1024, heads=4, epochs=24, wordings=6, rate=3e-3, tokens=1024, spread=0.04)
