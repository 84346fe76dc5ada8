"""Several processes write at once, one is killed, a disk is full: nothing is lost or half written, no lock is left."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import event

from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import Fact
from tests.catalog.making import CAPITAL, FACTS, RUN
from tests.catalog.writing import ATTRIBUTED, facts_of, prompt_of, refinement_of

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = int(os.environ.get("KNEDIT_STRESS_ROUNDS", "1"))

HOLD = """
import sys, time
from knedit.catalog.store import Catalog
from knedit.records import Relation
from knedit.catalog.rows import add
from knedit.catalog import schema
with Catalog(sys.argv[1]) as catalog, catalog._writing() as connection:
    add(connection, schema.relations, [Relation.make("half written")])
    print("holding", flush=True)
    time.sleep(60)
"""


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )


def write_at_once(url: str, writers: int) -> list[tuple[str, str]]:
    children = [start("-m", "tests.catalog.writing", url, str(number), str(ROUNDS)) for number in range(writers)]
    return [child.communicate("go\n") for child in children]


@pytest.mark.parametrize(("kind", "writers"), [("sqlite", 2), pytest.param("postgres", 8, marks=pytest.mark.postgres)])
def test_many_writers_at_once_lose_nothing(kind: str, writers: int, request: pytest.FixtureRequest) -> None:
    url = str(request.getfixturevalue(f"{kind}_url"))
    Catalog(url).close()
    assert write_at_once(url, writers) == [("done\n", "")] * writers
    told = {fact.id: fact for number in range(writers) for turn in range(ROUNDS) for fact in facts_of(number, turn)}
    with Catalog(url) as catalog:
        found = {fact.id: fact.status for fact in catalog.facts()}
        assert found == dict.fromkeys(told, "approved")
        assert {one.fact_id for one in catalog.prompts(list(found))} == set(told)
        scored = {
            prompt_of(fact).id
            for number in range(writers)
            for turn in range(ROUNDS)
            for fact in facts_of(number, turn)[:ATTRIBUTED]
        }
        assert catalog.attributed_prompts(RUN.id) == scored
        for number in range(writers):
            neurons = catalog.users_of(refinement_of(number).id, 1, 7)
            own = {fact.id for turn in range(ROUNDS) for fact in facts_of(number, turn)}
            assert {one.fact.id for one in neurons} == own
            assert [one.facts for one in catalog.hubs(refinement_of(number).id)] == [len(own)]
        assert {one.check for one in catalog.check()} == {"unfinished"}


def test_a_writer_that_is_killed_leaves_no_lock_and_nothing_half_written(database: str) -> None:
    Catalog(database).close()
    child = start("-c", HOLD, database)
    assert child.stdout is not None
    assert child.stdout.readline() == "holding\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    begun = time.monotonic()
    with Catalog(database) as catalog:
        assert catalog.import_facts(FACTS).facts.added == 3
        assert [one.key for one in catalog.relations()] == ["capital", "currency"]
    assert time.monotonic() - begun < 10


def test_where_temporary_files_find_no_space_that_is_told(sqlite_catalog_url: str) -> None:
    with Catalog(sqlite_catalog_url) as catalog:

        @event.listens_for(catalog._engine, "connect")
        def _limit(connection: sqlite3.Connection, entry: object) -> None:
            connection.execute("PRAGMA temp.max_page_count = 20")

        catalog._engine.pool.dispose()
        catalog._engine.pool = catalog._engine.pool.recreate()
        many = [Fact.make(CAPITAL.id, f"Land {number}", "Town" * 50) for number in range(5000)]
        with pytest.raises(CatalogError, match=r"disk is full .*Free some disk space, also for temporary files"):
            catalog.import_facts([CAPITAL, *many])
        assert catalog.relations() == []
        assert catalog.import_facts(FACTS).facts.added == 3
