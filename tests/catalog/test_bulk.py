"""Large loads leave a table as they found it: its indexes, its references, and nobody waiting who reads just then."""

import pytest
from sqlalchemy import inspect

from knedit.catalog import bulk, schema
from knedit.catalog.store import Catalog
from knedit.errors import CatalogError
from knedit.records import KnowledgeNeuron, RefinedFact, Refinement
from tests.catalog.making import NOON, PARIS, REFINEMENT, RUN, TOKYO, fill_refinement, fill_run, neuron, refined

TABLES = ("facts", "refined_facts", "knowledge_neurons", "neuron_counts")
OTHER = Refinement(Refinement.identify(RUN.id, {"other": 1}), RUN.id, {"other": 1}, NOON)


def burdens(catalog: Catalog) -> object:
    inspector = inspect(catalog._engine)
    return {table: (inspector.get_indexes(table), inspector.get_foreign_keys(table)) for table in TABLES}


def load(catalog: Catalog, neurons: int) -> None:
    own = OTHER.id
    rows = [KnowledgeNeuron(own, PARIS.id, 1, index, None, None, "fact") for index in range(neurons)]
    catalog.put_refinement(OTHER, [RefinedFact(own, PARIS.id, None, None, neurons)], rows)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MANY", 10)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("neurons", [5, 10, 500], ids=["few", "as many", "many"])
def test_indexes_and_references_are_afterwards_as_they_were(catalog: Catalog, neurons: int) -> None:
    before = burdens(catalog)
    fill_refinement(catalog)
    load(catalog, neurons)
    assert burdens(catalog) == before
    assert len(catalog.neurons_of(OTHER.id, PARIS.id)) == neurons
    assert len(catalog.neurons_of(REFINEMENT.id, PARIS.id)) == 3
    assert {one.check for one in catalog.check()} <= {"unfinished", "places"}  # some are beyond the tiny width


@pytest.mark.usefixtures("large")
def test_rows_that_refer_to_nothing_are_refused_as_ever(catalog: Catalog) -> None:
    fill_run(catalog)
    before = burdens(catalog)
    strays = [neuron(TOKYO, 1, index, 1.0) for index in range(50)]
    with pytest.raises(CatalogError, match="The catalog refuses the records"):
        catalog.put_refinement(REFINEMENT, [refined(PARIS, 0)], strays)
    assert burdens(catalog) == before
    assert catalog.refinements() == []


@pytest.mark.postgres
@pytest.mark.usefixtures("large")
def test_where_somebody_reads_rows_come_without_closing_the_table(postgres_url: str) -> None:
    import psycopg

    with Catalog(postgres_url) as catalog, psycopg.connect(postgres_url.replace("+psycopg", "")) as reader:
        fill_refinement(catalog)
        assert reader.execute("SELECT count(*) FROM knowledge_neurons").fetchone() == (6,)
        load(catalog, 500)
        assert reader.execute("SELECT count(*) FROM knowledge_neurons").fetchone() == (506,)


@pytest.mark.postgres
@pytest.mark.usefixtures("large")
def test_a_user_who_does_not_own_the_tables_may_load_them(postgres_url: str) -> None:
    import psycopg
    from sqlalchemy.engine import make_url

    with Catalog(postgres_url) as catalog:
        fill_refinement(catalog)
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute("DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO guest")
    url = make_url(postgres_url).set(username="guest").render_as_string(hide_password=False)
    with Catalog(url) as catalog:
        load(catalog, 500)
        assert len(catalog.neurons_of(OTHER.id, PARIS.id)) == 500


@pytest.mark.usefixtures("large")
def test_a_large_load_tells_sqlite_which_index_to_take(sqlite_catalog_url: str) -> None:
    with Catalog(sqlite_catalog_url) as catalog:
        fill_refinement(catalog)
        load(catalog, 5000)
        table = schema.knowledge_neurons.name
        question = f'SELECT * FROM {table} WHERE refinement_id = {OTHER.id} AND layer = 1 AND "index" = 7'
        with catalog._engine.connect() as connection:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}")]
    assert plan == [
        f"SEARCH {table} USING INDEX ix_knowledge_neurons_refinement_id_layer_index"
        " (refinement_id=? AND layer=? AND index=?)"
    ]
