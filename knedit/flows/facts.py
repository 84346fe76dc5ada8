"""Bring files of facts into the catalog, and out of it."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import knedit.starter
from knedit.catalog.answers import ImportCount
from knedit.catalog.facts import Told
from knedit.catalog.formats import writing_facts
from knedit.catalog.formats.registry import detect, find_format
from knedit.catalog.formats.streams import Fault, stop
from knedit.catalog.formats.writing import writer_of
from knedit.catalog.store import Catalog
from knedit.errors import FactsError
from knedit.flows.curate import facts_of_selection
from knedit.flows.export import refuse_taken
from knedit.records import STATUSES, Fact, FactSource, Prompt, Relation, RequestedRewrite

STARTER = "starter"
SHOWN = 20  # faults of a file that are kept to be shown; all are counted

_BATCH = 500


class Skipped:
    """Take the faults of a file's records, so that reading goes on: count them, and keep the first ones."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[FactsError] = []

    def __call__(self, fault: FactsError) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(fault)


def starter_file() -> Path:
    """Return the file of facts that comes with knedit."""
    return Path(knedit.starter.__path__[0]) / "facts.jsonl"


def import_file(catalog: Catalog, file: Path | str, *, format: str | None = None, fault: Fault = stop) -> ImportCount:
    """Import a file or folder of a known format, or the starter set by its name; all of it or nothing.

    The format is found out where it is not given. A broken record goes to `fault`, which by default raises its
    FactsError with file and line.
    """
    path = starter_file() if str(file) == STARTER else Path(file)
    reading = find_format(format or detect(path))
    return catalog.import_facts(reading.read(path, fault))


def export_facts(
    catalog: Catalog,
    output: Path,
    *,
    format: str | None = None,
    relation: str | None = None,
    selection: str | None = None,
    retired: bool = False,
    overwrite: bool = False,
) -> int:
    """Write all facts, or one relation's, with what hangs on them; return how many facts, or rows of a table.

    With `selection` only its facts; what is retired, facts and prompts, only with `retired`.
    The format is one of EXPORTS, else what the name of the file ends in: "jsonl" is knedit's own, read back equal.
    """
    refuse_taken(output, overwrite)
    wanted = format or writer_of(output)
    relations = catalog.relations() if relation is None else [catalog.find_relation(relation)]
    told = _told(catalog, relations, _wanted(catalog, selection), retired=retired)
    if wanted == "jsonl":
        return writing_facts.write_jsonl(output, told)
    return writing_facts.write_rows(output, told, wanted)


def _wanted(catalog: Catalog, selection: str | None) -> set[int] | None:
    """Return the ids of a selection's facts, None without a selection."""
    return None if selection is None else {fact.id for fact in facts_of_selection(catalog, selection)}


def _told(catalog: Catalog, relations: Iterable[Relation], wanted: set[int] | None, *, retired: bool) -> Iterator[Told]:
    statuses = [status for status in STATUSES if retired or status != "retired"]
    for relation in relations:
        facts = catalog.facts(relation=relation.key, statuses=statuses)
        if wanted is not None:
            facts = [fact for fact in facts if fact.id in wanted]
            if not facts:
                continue
        yield relation
        for start in range(0, len(facts), _BATCH):
            yield from _with_all(catalog, facts[start : start + _BATCH], statuses)


def _with_all(catalog: Catalog, facts: Sequence[Fact], statuses: Sequence[str]) -> Iterator[Told]:
    """Yield each fact, then its prompts of these statuses, its sources and rewrites."""
    ids = [fact.id for fact in facts]
    hanging: dict[int, list[Told]] = {own: [] for own in ids}
    found: list[Prompt | FactSource | RequestedRewrite] = [
        prompt for prompt in catalog.prompts(ids) if prompt.status in statuses
    ]
    found += [*catalog.sources(ids), *catalog.requested_rewrites(ids)]
    for one in found:
        hanging[one.fact_id].append(one)
    for fact in facts:
        yield fact
        yield from hanging[fact.id]
