"""Experiments: what was asked of a checkpoint, which parts of it are done, and what they found.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
OBJECT = sa.JSON().with_variant(JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)
NEW = ("experiment_values", "experiment_parts", "experiments")


def upgrade() -> None:
    op.create_table(
        "experiments",
        _number("id"),
        _number("checkpoint_id"),
        _number("refinement_id", nullable=True),
        _number("edit_id", nullable=True),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("config", OBJECT, nullable=False),
        sa.Column("version", WORDS, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.CheckConstraint("name <> ''", name=op.f("ck_experiments_name")),
        _refers("experiments", "checkpoint_id", "checkpoints"),
        _refers("experiments", "refinement_id", "refinements"),
        _refers("experiments", "edit_id", "edits"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
    )
    op.create_index(op.f("ix_experiments_checkpoint_id_name"), "experiments", ["checkpoint_id", "name"])
    op.create_table(
        "experiment_parts",
        _number("experiment_id"),
        sa.Column("part", WORDS, nullable=False),
        _number("relation_id", nullable=True),
        _number("fact_id", nullable=True),
        sa.Column("status", WORDS, nullable=False),
        sa.Column("reason", WORDS, nullable=True),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("finished_at", MOMENT, nullable=False),
        sa.CheckConstraint("length(part) <= 500", name=op.f("ck_experiment_parts_part")),
        sa.CheckConstraint("status <> ''", name=op.f("ck_experiment_parts_status")),
        _refers("experiment_parts", "experiment_id", "experiments"),
        _refers("experiment_parts", "relation_id", "relations"),
        _refers("experiment_parts", "fact_id", "facts"),
        sa.PrimaryKeyConstraint("experiment_id", "part", name=op.f("pk_experiment_parts")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_experiment_parts_fact_id"), "experiment_parts", ["fact_id"])
    key = ("part", "series", "key", "metric")
    op.create_table(
        "experiment_values",
        _number("experiment_id"),
        *[sa.Column(name, WORDS, nullable=False) for name in key],
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("text", WORDS, nullable=True),
        sa.CheckConstraint(
            "length(part) + length(series) + length(key) + length(metric) <= 500",
            name=op.f("ck_experiment_values_key"),
        ),
        sa.ForeignKeyConstraint(
            ["experiment_id", "part"],
            ["experiment_parts.experiment_id", "experiment_parts.part"],
            name=op.f("fk_experiment_values_experiment_id_part"),
        ),
        sa.PrimaryKeyConstraint("experiment_id", *key, name=op.f("pk_experiment_values")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    _refuse_loss()
    for table in NEW:
        op.drop_table(table)


def _refuse_loss() -> None:
    """Raise where revision 0005 has no place for what is there."""
    bind = op.get_bind()
    counts = {table: bind.scalar(sa.text(f"SELECT count(*) FROM {table}")) for table in NEW[::-1]}  # noqa: S608
    if told := ", ".join(f"{count} rows of {table.replace('_', ' ')}" for table, count in counts.items() if count):
        raise RuntimeError(f"Revision 0005 has no place for {told}")


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable)


def _refers(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"))
