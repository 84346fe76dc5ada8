"""What the search for new values asks of one context: that an answer be given, or that it be forgotten.

Each objective is a function in a table, named by the operation. Knows no layers and no search. Sources: the likelihood
of Meng et al. (ROME, NeurIPS 2022, section 3.1); forgetting down to what the model says without the subject is knedit's
own, and bounded where ascent on the likelihood is not.

Shapes: N contexts, A answer tokens of one context, V vocabulary.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from knedit.models.model import Model
from knedit.models.planting import Grown, Planting
from knedit.models.prompting import Query
from knedit.models.vocabulary import word_parts

_LEAST = 1e-8
_LEAD = 0.1  # nats by which an answer that shall stay the likeliest must lead again, if it did
_UNLIKELY = 0.3  # nats: a word that is gone on with in one case of four is left alone
WORD_END = -1  # in an answer's place: the word before it shall end


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What one context's answer tokens were, where they are due, and the spread `target` [V] to end with.

    That is for forgetting, and for what shall stay as it was; [A, V] for an answer that shall be given again. `ceiling`
    is the log-probability that the first answer token must not exceed. `parts` tells the tokens [V] that go on with a
    word, where a place asks that it end.
    """

    places: tuple[tuple[int, int], ...]
    target: Tensor | None = None
    ceiling: float = 0.0
    parts: Tensor | None = None


Objective = Callable[[Tensor, Asked], tuple[Tensor, Tensor]]


def _say(spread: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
    tokens = [token for _, token in asked.places if token != WORD_END]
    loss = -spread[range(len(tokens)), tokens].mean()
    if asked.parts is not None:
        on = spread[len(tokens)][asked.parts.to(spread.device)].exp().sum()
        loss = loss + (-torch.log1p(-on.clamp(max=1 - 1e-6)) - _UNLIKELY).clamp(min=0)
    return loss, loss.detach()


def _forget(spread: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
    """KL from the wished spread, and what the answer still has above its ceiling; only the latter must vanish."""
    assert asked.target is not None
    first = spread[0]
    above = (first[asked.places[0][1]] - asked.ceiling).clamp(min=0)
    return _divergence(asked.target, first) + above, above.detach()


def _keep(spread: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
    """KL from what the model said before where the answer begins."""
    assert asked.target is not None
    divergence = _divergence(asked.target, spread[0])
    return divergence, divergence.detach()


def _uphold(spread: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
    """KL from what the model said before, the answer tokens' mean, and what any of them is behind another token."""
    assert asked.target is not None
    tokens = [token for _, token in asked.places]
    divergence = torch.stack([_divergence(was, now) for was, now in zip(asked.target, spread, strict=True)]).mean()
    own = spread[range(len(tokens)), tokens]
    had = asked.target[range(len(tokens)), tokens]
    rivals, were = (
        rest.scatter(1, torch.tensor(tokens, device=rest.device)[:, None], none).amax(1)
        for rest, none in ((spread, -math.inf), (asked.target, 0.0))
    )
    lead = (had / were.clamp(min=_LEAST)).log().clamp(0, _LEAD)
    loss = divergence + (rivals - own + lead).clamp(min=0).max()
    return loss, loss.detach()


def _divergence(target: Tensor, spread: Tensor) -> Tensor:
    """KL of log-probabilities [V] from the probabilities of a target [V], some of which may be 0."""
    likely = target > 0
    return (target[likely] * (target[likely].log() - spread[likely])).sum()


OBJECTIVES: Mapping[str, Objective] = {"update": _say, "erase": _forget, "keep": _keep, "uphold": _uphold}


def losses(
    model: Model, grown: Grown, rows: Sequence[int], asked: Sequence[Asked], objective: Objective
) -> tuple[Tensor, Tensor]:
    """Return each row's loss, and what of it must vanish before the search may stop: [R] each.

    `rows` number the contexts of `asked` that the run's rows are.
    """
    places = [(number, place) for number, row in enumerate(rows) for place, _ in asked[row].places]
    states = grown.hidden[[number for number, _ in places], [place for _, place in places]]
    spreads = model.logits(states).float().log_softmax(-1)
    shares = torch.split(spreads, [len(asked[row].places) for row in rows])
    found = [objective(share, asked[row]) for share, row in zip(shares, rows, strict=True)]
    return torch.stack([loss for loss, _ in found]), torch.stack([open_ for _, open_ in found])


def ending(query: Query) -> Query:
    """Return a query that also asks that the answer's last word end with it: not "Dutchman" where "Dutch" is wished.

    Its text is one of a causal model, read up to the answer's last token.
    """
    last = query.positions[-1] + 1
    return replace(
        query,
        tokens=(*query.tokens[:last], query.answers[-1]),
        answers=(*query.answers, WORD_END),
        positions=(*query.positions, last),
    )


@torch.no_grad()
def asked_of(
    model: Model, planting: Planting, operations: Sequence[str], priors: Sequence[float | None]
) -> list[Asked]:
    """Return what each context of a base pass asks, by its operation.

    A prior is the probability to bring an answer down to that is to be forgotten; others have None.
    """
    hidden = planting.base.hidden
    found = []
    parts = word_parts(model) if any(places[-1][1] == WORD_END for places in planting.answers) else None
    every = zip(planting.answers, operations, priors, strict=True)
    for number, (places, operation, prior) in enumerate(every):
        if places[-1][1] == WORD_END:
            found.append(Asked(tuple(places), parts=parts))
            continue
        spread = model.logits(hidden[number, [place for place, _ in places]]).double().log_softmax(-1)
        if operation == "keep":
            found.append(Asked(tuple(places), spread[0].exp().float()))
        else:
            found.append(asked_in(spread, tuple(places), prior))
    return found


def asked_in(spread: Tensor, places: tuple[tuple[int, int], ...], prior: float | None) -> Asked:
    """Return what a context asks whose answer tokens, due at `places`, have log-probabilities [A, V] now."""
    if prior is None:
        return Asked(places)
    rest = sum(float(spread[number, token]) for number, (_, token) in enumerate(places) if number)
    return _lowered(spread[0].double(), places, prior, rest)


def _lowered(spread: Tensor, places: tuple[tuple[int, int], ...], prior: float, rest: float) -> Asked:
    """Lower the first answer token until the whole answer is as likely as `prior`; what it loses goes to the others."""
    token = places[0][1]
    chance = spread.exp()
    wished = math.exp(min(math.log(max(prior, _LEAST**8)) - rest, 0.0))  # of a long answer the rest may be next to 0
    ceiling = min(max(wished, _LEAST), float(chance[token]))
    target = chance.clone()
    target[token] = 0
    target = target / target.sum() * (1 - ceiling)
    target[token] = ceiling
    return Asked(places, target.float(), float(torch.tensor(ceiling).log()))
