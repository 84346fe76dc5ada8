"""The catalog's verbs for what others published: neurons of facts and scores of prompts, joined by data set and key.

Knows nothing of files, nor of how neurons are refined. All of a file goes in, or nothing; what the catalog has stays.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection, Executable, Index, select, tuple_
from sqlalchemy.schema import CreateIndex

from knedit.catalog import counting, schema
from knedit.catalog.answers import Count, PublishedCount
from knedit.catalog.bulk import measure
from knedit.catalog.published_rows import FACTS, INDEXES, PROMPTS, TABLES, Kind, Staged, links, places, records
from knedit.catalog.rows import add, batches
from knedit.catalog.staging import Staging, StagingTransactions
from knedit.errors import FactsError
from knedit.records import (
    AttributionRun,
    Checkpoint,
    Config,
    Prompt,
    PublishedNeurons,
    PublishedScores,
    Refinement,
    fingerprint,
)

_AT_ONCE = 500  # published records whose neurons are held before they are sent
_NAMED = 3  # keys that an error names


class Rule(Protocol):
    """What makes a neuron its relation's, or anyone's."""

    @property
    def hub_share(self) -> float: ...

    def generic_from(self, relations: int) -> int:
        """Return in how many of so many relations a neuron is anyone's."""
        ...


@dataclass(frozen=True, slots=True)
class Publication:
    """Where published records come from and go to.

    `config` returns the configuration of a run from data set and method; `tell` takes what cannot be taken in, and
    may raise it.
    """

    source: str
    checkpoint: Checkpoint
    config: Callable[[str, str], Config]
    version: str
    when: datetime
    tell: Callable[[FactsError], None]

    def run(self, one: PublishedNeurons | PublishedScores) -> AttributionRun:
        config = self.config(one.dataset, one.method)
        own = AttributionRun.identify(self.checkpoint.id, config)
        return AttributionRun(own, self.checkpoint.id, config, self.version, self.when, self.when)


@dataclass(frozen=True, slots=True)
class Wordings:
    """How to tell that published scores and a prompt are of the same words and answer: what is equal for both."""

    told: Callable[[PublishedScores], Hashable]
    kept: Callable[[Prompt], Hashable]


@dataclass(frozen=True, slots=True)
class _Record:
    number: int
    frame: int
    dataset: str
    key: str
    neurons: int
    digest: int
    peak: float | None


@dataclass(frozen=True, slots=True)
class _Place:
    number: int
    layer: int
    index: int
    score: float | None


@dataclass(frozen=True, slots=True)
class _Link:
    frame: int
    thing: int
    number: int


class PublishedVerbs(StagingTransactions):
    def import_neurons(
        self, publication: Publication, published: Iterable[PublishedNeurons], *, rule: Rule, config: Config
    ) -> list[PublishedCount]:
        """Add the neurons of facts that have none yet: a run and a refinement, of `config`, a data set and method.

        Told are keys that no fact has, and keys that tell other neurons than the first one of the same fact, or than
        the catalog; what was there first stays. Raise FactsError where no key is known.
        """
        frames: dict[int, Refinement] = {}
        runs: dict[int, AttributionRun] = {}

        def frame(one: PublishedNeurons) -> int:
            run = publication.run(one)
            own = Refinement.identify(run.id, config)
            runs[own], frames[own] = run, Refinement(own, run.id, config, publication.when)
            return own

        with self._staging(*TABLES) as turns:
            with turns.filling() as staging:
                for batch in batches(enumerate(published), _AT_ONCE):
                    _stage(staging, [(number, frame(one), one, _unscored(one)) for number, one in batch])
            with turns.writing() as staging:
                steps, connection = _staged(staging), staging.connection
                connection.execute(steps.link_facts())
                with _adding(connection, steps, FACTS, publication) as (seen, added):
                    for own in added:
                        _put_frame(connection, publication.checkpoint, runs[own], frames[own])
                        _give_roles(connection, steps, own, rule)
                    _all(connection, [steps.add_facts(), steps.add_neurons()] if added else [])
                    for own in added:
                        counting.count_again(connection, own)
                    if added:
                        measure(connection, schema.refined_facts, schema.knowledge_neurons)
        return [_count(runs[own], seen[own], added.get(own), refinement_id=own) for own in frames]

    def import_scores(
        self, publication: Publication, published: Iterable[PublishedScores], wordings: Wordings
    ) -> list[PublishedCount]:
        """Add the scores of prompts that have none yet: a run a data set and method.

        Told are scores of no prompt that the catalog has, and those that differ from the prompt's first ones, or from
        the catalog's; what was there first stays. Raise FactsError where no prompt is known.
        """
        runs: dict[int, AttributionRun] = {}

        def frame(one: PublishedScores) -> int:
            run = publication.run(one)
            return runs.setdefault(run.id, run).id

        with self._staging(*TABLES) as turns:
            with turns.filling() as staging:
                for batch in batches(enumerate(published), _AT_ONCE):
                    framed = [(number, frame(one), one, _scored(one)) for number, one in batch]
                    _stage(staging, framed)
                    found = _prompts(staging.connection, [one for _, one in batch], wordings)
                    staging.stage(links, _links(framed, found, wordings))
            with turns.writing() as staging:
                steps, connection = _staged(staging), staging.connection
                with _adding(connection, steps, PROMPTS, publication) as (seen, added):
                    for own in added:
                        _put_frame(connection, publication.checkpoint, runs[own], None)
                    _all(connection, [steps.add_prompts(), steps.add_scores()] if added else [])
        return [_count(run, seen[own], added.get(own)) for own, run in runs.items()]


Scores = dict[tuple[int, int], float | None]
Framed = tuple[int, int, PublishedNeurons | PublishedScores, Scores]


def _unscored(one: PublishedNeurons) -> Scores:
    return dict.fromkeys(sorted(set(one.neurons)))


def _scored(one: PublishedScores) -> Scores:
    return {(layer, index): score for layer, index, score in sorted(one.scores)}


def _stage(staging: Staging, framed: Sequence[Framed]) -> None:
    staging.stage(
        records,
        [
            _Record(number, frame, one.dataset, one.key, len(scores), _digest(scores), _peak(scores))
            for number, frame, one, scores in framed
        ],
    )
    staging.stage(
        places, [_Place(number, *place, score) for number, _, _, scores in framed for place, score in scores.items()]
    )


def _digest(scores: Scores) -> int:
    return fingerprint(*([*place, score] for place, score in scores.items()))


def _peak(scores: Scores) -> float | None:
    return max((score for score in scores.values() if score is not None), default=None)


def _links(framed: Iterable[Framed], found: dict[Hashable, int], wordings: Wordings) -> Iterator[_Link]:
    for number, frame, one, _ in framed:
        assert isinstance(one, PublishedScores)
        asked = (one.dataset, one.key, wordings.told(one))
        if asked in found:
            yield _Link(frame, found[asked], number)


def _prompts(connection: Connection, told: Iterable[PublishedScores], wordings: Wordings) -> dict[Hashable, int]:
    """Return the prompts' ids by data set, key and wording; of prompts that are worded alike the least id."""
    sources, prompts = schema.fact_sources, schema.prompts
    keys = sorted({(one.dataset, one.key) for one in told})
    wanted = (
        select(sources.c.dataset, sources.c.key, prompts)
        .join(prompts, prompts.c.fact_id == sources.c.fact_id)
        .where(tuple_(sources.c.dataset, sources.c.key).in_(keys), prompts.c.answer.is_not(None))
        .order_by(prompts.c.id.desc())
    )
    return {
        (dataset, key, wordings.kept(Prompt(*prompt))): prompt[0]
        for dataset, key, *prompt in connection.execute(wanted)
    }


def _staged(staging: Staging) -> Staged:
    """Return the statements over what was staged, indexed."""
    twins, connection = [staging.twin(table) for table in TABLES], staging.connection
    for table, names in INDEXES:
        twin = staging.twin(table)
        connection.execute(CreateIndex(Index(f"{twin.name}_{names[-1]}", *(twin.c[name] for name in names))))
    measure(connection, *twins)
    return Staged(*twins)


@contextmanager
def _adding(
    connection: Connection, steps: Staged, kind: Kind, publication: Publication
) -> Iterator[tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]]]:
    """Choose what is new and tell what is in the way; yield by frame the things and neurons seen, and those to add."""
    measure(connection, steps.links)
    seen = {frame: (things, int(neurons)) for frame, things, neurons in connection.execute(steps.seen())}
    _tell_strays(connection, steps, publication, sum(things for things, _ in seen.values()))
    connection.execute(steps.choose())
    measure(connection, steps.chosen)
    _tell_contradictions(connection, steps, publication)
    _tell_disagreements(connection, steps, kind, publication)
    connection.execute(steps.leave_known(kind))
    measure(connection, steps.chosen)
    yield seen, {frame: (things, int(neurons)) for frame, things, neurons in connection.execute(steps.added())}


def _tell_strays(connection: Connection, steps: Staged, publication: Publication, total: int) -> None:
    strays = connection.execute(steps.strays()).all()
    if not strays:
        return
    datasets = ", ".join(dict.fromkeys(dataset for dataset, _ in strays))
    error = FactsError(
        f"{len(strays):,} of {total:,} records are of nothing that the catalog has: {_some(key for _, key in strays)}",
        publication.source,
        f"Import the facts first, with their prompts: knedit facts import PATH (data set {datasets}).",
    )
    if len(strays) == total:
        raise error
    publication.tell(error)


def _tell_contradictions(connection: Connection, steps: Staged, publication: Publication) -> None:
    found = connection.execute(steps.contradictions()).all()
    if found:
        number = len({key for _, key, _ in found})
        pairs = _some(f"{key} after {first}" for _, key, first in found)
        publication.tell(
            FactsError(
                f"{number:,} records tell other neurons than an earlier one of the same: {pairs}",
                publication.source,
                "Keep one of the two, or take the first with --on-error skip.",
            )
        )


def _tell_disagreements(connection: Connection, steps: Staged, kind: Kind, publication: Publication) -> None:
    found = connection.execute(steps.disagreements(kind)).all()
    if found:
        publication.tell(
            FactsError(
                f"{len(found):,} records tell other neurons than the catalog has: {_some(key for _, key in found)}",
                publication.source,
                "What the catalog has is kept: leave these out, or pass them over with --on-error skip.",
            )
        )


def _some(keys: Iterable[str]) -> str:
    every = list(dict.fromkeys(keys))
    return ", ".join(every[:_NAMED]) + (" …" if len(every) > _NAMED else "")


def _put_frame(
    connection: Connection, checkpoint: Checkpoint, run: AttributionRun, refinement: Refinement | None
) -> None:
    add(connection, schema.checkpoints, [checkpoint])
    add(connection, schema.attribution_runs, [run])
    add(connection, schema.refinements, [refinement] if refinement else [])


def _give_roles(connection: Connection, steps: Staged, refinement_id: int, rule: Rule) -> None:
    relations = connection.scalar(steps.relations_of(refinement_id)) or 0
    generic = rule.generic_from(relations)
    connection.execute(steps.find_roles(refinement_id, hub_share=rule.hub_share, generic=generic))
    measure(connection, steps.roles)
    connection.execute(steps.change_roles(refinement_id))


def _all(connection: Connection, statements: Iterable[Executable]) -> None:
    for statement in statements:
        connection.execute(statement)


def _count(
    run: AttributionRun, seen: tuple[int, int], added: tuple[int, int] | None, *, refinement_id: int | None = None
) -> PublishedCount:
    new = added or (0, 0)
    return PublishedCount(run, refinement_id, Count(seen[0], new[0]), Count(seen[1], new[1]))
