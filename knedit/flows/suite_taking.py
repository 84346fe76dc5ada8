"""Which records of a published set a run takes: by place, by relation, and only what the model knows where so wished.

A record is known where the true object is the argmax on its own wording.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from knedit.catalog.formats.values import listed
from knedit.errors import FactsError, ModelError
from knedit.evaluation.cases import Case, Question
from knedit.flows.suites import Surroundings

if TYPE_CHECKING:
    from knedit.models.model import Model

_AT_ONCE = 32
OTHERS = 200  # known facts of other relations that a plan of one relation is watched on


@dataclass(frozen=True, slots=True)
class Taking:
    """What to take: so many records from `offset` on, of these relations (none named: of all); only known ones."""

    limit: int | None = None
    offset: int = 0
    relations: tuple[str, ...] = ()
    known_only: bool = False
    erase: bool = False


def take(model: "Model", every: Sequence[Case], taking: Taking, *, alone: bool, where: str) -> tuple[list[Case], int]:
    """Return the wished cases with the bystanders that the whole set has for them, and how many were not known.

    `alone` tells that each is edited by itself. Raises FactsError where nothing is left.
    """
    found = _of_relations(every, taking.relations, where)[taking.offset :]
    if not found:
        raise FactsError(
            f"the file has {len(every)} records, none of the wished ones behind the first {taking.offset}",
            where,
            "Choose a smaller --offset.",
        )
    unknown = 0
    if taking.known_only:
        found, unknown = _known(model, found, taking.limit)
        if not found:
            cure = "Choose other records, or leave --known-only out."
            raise FactsError(f"the model knows none of the {unknown} records", where, cure)
    some = found[: taking.limit]
    around = Surroundings(every)
    cases = [around.with_bystanders(case, [case] if alone else some) for case in some]
    if taking.erase:
        cases = [replace(case, rewrite=replace(case.rewrite, erase=True), inverse=()) for case in cases]
    return cases, unknown


def known_others(model: "Model", every: Sequence[Case], edited: Sequence[Case], *, seed: int) -> tuple[Case, ...]:
    """Return known records of relations that no edited case has, drawn by chance, some hundreds at most."""
    relations = {case.rewrite.relation for case in edited}
    subjects = {case.rewrite.subject for case in edited}
    others = [c for c in every if c.rewrite.relation not in relations and c.rewrite.subject not in subjects]
    Random(seed).shuffle(others)  # noqa: S311 - a choice of records, no secret
    return tuple(_known(model, others, OTHERS)[0])


def count_right(model: "Model", cases: Sequence[Case]) -> int:
    """Return how many cases have their true object as argmax on their own wording."""
    return sum(sum(_right(model, some)) for some in _pieces(cases))


def _of_relations(every: Sequence[Case], relations: Collection[str], where: str) -> list[Case]:
    there = dict.fromkeys(case.rewrite.relation for case in every)
    for relation in relations:
        if relation not in there:
            known = listed(list(there)[:10]) + (" …" if len(there) > 10 else "")
            raise FactsError(f"no record has the relation {relation!r}", where, f"Choose among {known}.")
    return [case for case in every if not relations or case.rewrite.relation in relations]


def _known(model: "Model", cases: Sequence[Case], limit: int | None) -> tuple[list[Case], int]:
    """Return the first known cases, and how many others were passed over on the way."""
    found: list[Case] = []
    unknown = 0
    for some in _pieces(cases):
        for case, right in zip(some, _right(model, some), strict=True):
            if limit is not None and len(found) == limit:
                return found, unknown
            unknown += not right
            found += [case] if right else []
    return found, unknown


def _pieces(cases: Sequence[Case]) -> Iterator[Sequence[Case]]:
    for first in range(0, len(cases), _AT_ONCE):
        yield cases[first : first + _AT_ONCE]


def _right(model: "Model", cases: Sequence[Case]) -> list[bool]:
    """Tell of each case whether the model knows it; what it cannot be asked it does not know."""
    from knedit.evaluation.replies import ask, check

    asked = [Question(case.rewrite.text, (case.rewrite.true,)) for case in cases]
    able = []
    for number, question in enumerate(asked):
        try:
            check(model, [question])
        except ModelError:
            continue
        able.append(number)
    replies = ask(model, [asked[number] for number in able]) if able else []
    right = {number for number, reply in zip(able, replies, strict=True) if reply.told[0].likeliest}
    return [number in right for number in range(len(cases))]
