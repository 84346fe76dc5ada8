"""Alembic's way in: run the migrations on the connection that knedit hands over, or on the developer's database.

Knows nothing of how a catalog is locked or refused: that is `knedit.catalog.revisions`.
"""

from alembic import context
from sqlalchemy import Connection

from knedit.catalog.connecting import open_engine, read_address
from knedit.catalog.schema import metadata
from knedit.settings import database_url


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
        if connection.dialect.name == "sqlite":
            dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            assert not dangling, f"rows that refer to nothing: {dangling[:5]}"


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    url = context.get_x_argument(as_dictionary=True).get("url")
    engine = open_engine(read_address(database_url(url if isinstance(url, str) else None)))
    with engine.execution_options(writing=True, migrating=True).begin() as connection:
        run(connection)
    engine.dispose()
