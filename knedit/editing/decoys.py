"""Names that are nearly a subject's, which an edit of the subject must be told from.

What an edit says to these is what it would say to namesakes that no catalog lists: Bundesautobahn 3 beside
Bundesautobahn 2. They are made of tokens, so they need no language. Knows no solve. Source: knedit's own.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from knedit.models.model import Model
from knedit.models.planting import site_of
from knedit.models.prompting import Query
from knedit.models.vocabulary import near_tokens

Name = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Material:
    """What names are made of: tokens near each of the subject's, other subjects, and a generator of choices."""

    near: Sequence[Sequence[int]]
    donors: Sequence[Name]
    draw: random.Random

    def donor(self) -> Name:
        return self.draw.choice(self.donors)


def _end_nearly(own: Name, material: _Material) -> Name:
    return (*own[:-1], material.draw.choice(material.near[-1]))


def _one_nearly(own: Name, material: _Material) -> Name:
    place = material.draw.randrange(len(own))
    return (*own[:place], material.draw.choice(material.near[place]), *own[place + 1 :])


def _end_of_another(own: Name, material: _Material) -> Name:
    return own[:-1] + material.donor()[-1:]


def _beginning_of_another(own: Name, material: _Material) -> Name:
    return material.donor()[:-1] + own[-1:]


_KINDS: tuple[Callable[[Name, _Material], Name], ...] = (
    _end_nearly,
    _end_of_another,
    _one_nearly,
    _beginning_of_another,
)


def decoys_of(model: Model, query: Query, donors: Sequence[str], *, limit: int) -> list[Query]:
    """Return up to `limit` queries like `query`, each with another near name for its subject, kinds by turns.

    The query's neurons are its subject's tokens; `donors` are other subjects, of whom there may be none. The same query
    and donors always give the same decoys.
    """
    first, site = (query.neurons or query.positions[:1])[0], site_of(query)
    own = query.tokens[first : site + 1]
    draw = random.Random(" ".join(map(str, query.tokens)))  # noqa: S311 - a choice of names, no secret
    chosen = draw.sample(list(donors), min(limit, len(donors)))
    names = [name for name in (_tokens(model, donor) for donor in chosen) if name]
    material = _Material([near_tokens(model, token, limit) for token in own], names, draw)
    kinds = _KINDS if names else (_end_nearly, _one_nearly)
    found = dict.fromkeys(kinds[number % len(kinds)](own, material) for number in range(limit))
    return [_named(query, first, site, name) for name in found if name != own]


def _tokens(model: Model, name: str) -> Name:
    closing = {model.tokenizer.eos_token_id, model.tokenizer.sep_token_id} - {None}
    tokens = model.tokenizer(f" {name}", add_special_tokens=False)["input_ids"]
    return tuple(token for token in tokens if token not in closing)


def _named(query: Query, first: int, site: int, name: Name) -> Query:
    tokens = query.tokens[:first] + name + query.tokens[site + 1 :]
    return Query(tokens, query.answers[:1], (len(tokens) - 1,), (first + len(name) - 1,), query.context)
