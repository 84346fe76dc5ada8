"""Full-text search over facts and prompts; a history that is only added to.

Revision: 0004, after 0003.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEPT_FOR_GOOD = ("status_changes", "fact_notes", "neuron_notes")

# A prompt's blank is no word of it. FTS5 reads a view's columns again only to delete or to show them.
SQLITE_SEARCH = [
    "CREATE VIEW prompt_words AS SELECT id, replace(text, '{object}', '') AS text FROM prompts",
    "CREATE VIRTUAL TABLE facts_search USING fts5(subject, object, content='facts', content_rowid='id')",
    "CREATE VIRTUAL TABLE prompts_search USING fts5(text, content='prompt_words', content_rowid='id')",
    "INSERT INTO facts_search (facts_search) VALUES ('rebuild')",
    "INSERT INTO prompts_search (prompts_search) VALUES ('rebuild')",
    """CREATE TRIGGER facts_search_added AFTER INSERT ON facts BEGIN
    INSERT INTO facts_search (rowid, subject, object) VALUES (new.id, new.subject, new.object); END""",
    """CREATE TRIGGER facts_search_removed AFTER DELETE ON facts BEGIN
    INSERT INTO facts_search (facts_search, rowid, subject, object)
    VALUES ('delete', old.id, old.subject, old.object); END""",
    """CREATE TRIGGER prompts_search_added AFTER INSERT ON prompts BEGIN
    INSERT INTO prompts_search (rowid, text) VALUES (new.id, replace(new.text, '{object}', '')); END""",
    """CREATE TRIGGER prompts_search_removed AFTER DELETE ON prompts BEGIN
    INSERT INTO prompts_search (prompts_search, rowid, text)
    VALUES ('delete', old.id, replace(old.text, '{object}', '')); END""",
]
SQLITE_UNDO = [
    *[f"DROP TRIGGER {table}_{verb}" for table in KEPT_FOR_GOOD for verb in ("UPDATE", "DELETE")],
    *[f"DROP TRIGGER {table}_search_{done}" for table in ("facts", "prompts") for done in ("added", "removed")],
    "DROP TABLE facts_search",
    "DROP TABLE prompts_search",
    "DROP VIEW prompt_words",
]
POSTGRES_SEARCH = [
    "CREATE INDEX ix_facts_search ON facts USING gin (to_tsvector('simple'::regconfig, subject || ' ' || object))",
    """CREATE INDEX ix_prompts_search ON prompts
    USING gin (to_tsvector('simple'::regconfig, replace(text, '{object}', '')))""",
]
POSTGRES_UNDO = [
    *[f"DROP TRIGGER {table}_kept ON {table}" for table in KEPT_FOR_GOOD],
    "DROP FUNCTION refuse_change()",
    "DROP INDEX ix_facts_search",
    "DROP INDEX ix_prompts_search",
]
SQLITE_HISTORY = [
    f"""CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} BEGIN
    SELECT raise(ABORT, 'the history is only added to'); END"""
    for table in KEPT_FOR_GOOD
    for verb in ("UPDATE", "DELETE")
]
POSTGRES_HISTORY = [
    """CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the history is only added to'; END $$""",
    *[
        f"CREATE TRIGGER {table}_kept BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        for table in KEPT_FOR_GOOD
    ],
]


def upgrade() -> None:
    for statement in SQLITE_SEARCH + SQLITE_HISTORY if _sqlite() else POSTGRES_SEARCH + POSTGRES_HISTORY:
        op.execute(statement)


def downgrade() -> None:
    for statement in SQLITE_UNDO if _sqlite() else POSTGRES_UNDO:
        op.execute(statement)


def _sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
