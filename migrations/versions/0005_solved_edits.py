"""What solving an edit gave: value vectors, how each fact went, and the gates that it passed.

An edit may do without a refinement, as solvers may choose their own columns; neurons may be amplified.

Revision: 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
OBJECT = sa.JSON().with_variant(JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)
NEW = ("edit_gates", "edit_outcomes", "edit_values")
OPERATIONS = "operation IN ('update', 'erase', 'erase-relation'{more})"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rebuild(relaxed=True)
    else:
        op.alter_column("edits", "refinement_id", nullable=True)
        _change_operations(relaxed=True)
    _add_tables()


def downgrade() -> None:
    _refuse_loss()
    for table in NEW:
        op.drop_table(table)
    if op.get_bind().dialect.name == "sqlite":
        _rebuild(relaxed=False)
    else:
        op.alter_column("edits", "refinement_id", nullable=False)
        _change_operations(relaxed=False)


def _refuse_loss() -> None:
    """Raise where revision 0004 has no place for what is there."""
    bind = op.get_bind()
    lost = {table: f"SELECT count(*) FROM {table}" for table in NEW}  # noqa: S608
    lost["edits without a refinement"] = "SELECT count(*) FROM edits WHERE refinement_id IS NULL"
    lost["amplified facts"] = "SELECT count(*) FROM edit_targets WHERE operation = 'amplify'"
    found = {what: count for what, query in lost.items() if (count := bind.scalar(sa.text(query)))}
    if found:
        told = ", ".join(f"{count} rows of {what.replace('_', ' ')}" for what, count in found.items())
        raise RuntimeError(f"Revision 0004 has no place for {told}")


def _add_tables() -> None:
    op.create_table(
        "edit_values",
        _part("edit_id"),
        *[_place(name) for name in ("layer", "index")],
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        *[_from_zero("edit_values", name) for name in ("layer", "index")],
        _refers("edit_values", "edit_id", "edits"),
        sa.PrimaryKeyConstraint("edit_id", "layer", "index", name=op.f("pk_edit_values")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "edit_outcomes",
        _part("edit_id"),
        _place("step"),
        _part("fact_id"),
        sa.Column("converged", sa.Boolean(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("remainder", sa.Double(), nullable=False),
        sa.Column("worst", sa.Double(), nullable=False),
        sa.Column("layers", OBJECT, nullable=False),
        sa.ForeignKeyConstraint(
            ["edit_id", "step", "fact_id"],
            ["edit_targets.edit_id", "edit_targets.step", "edit_targets.fact_id"],
            name=op.f("fk_edit_outcomes_edit_id_step_fact_id"),
        ),
        sa.PrimaryKeyConstraint("edit_id", "step", "fact_id", name=op.f("pk_edit_outcomes")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "edit_gates",
        _part("edit_id"),
        sa.Column("gate", WORDS, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        _refers("edit_gates", "edit_id", "edits"),
        sa.PrimaryKeyConstraint("edit_id", "gate", name=op.f("pk_edit_gates")),
        sqlite_with_rowid=False,
    )


def _change_operations(*, relaxed: bool) -> None:
    op.drop_constraint(op.f("ck_edit_targets_operation"), "edit_targets")
    op.create_check_constraint(op.f("ck_edit_targets_operation"), "edit_targets", _operations(relaxed=relaxed))


def _operations(*, relaxed: bool) -> str:
    return OPERATIONS.format(more=", 'amplify'" if relaxed else "")


def _rebuild(*, relaxed: bool) -> None:
    """Write two tables anew: SQLite changes no column in place. Foreign keys are off meanwhile."""
    op.create_table(
        "new_edits",
        _part("id"),
        sa.Column("refinement_id", sa.BigInteger(), nullable=relaxed),
        sa.Column("checkpoint_id", sa.BigInteger(), nullable=False),
        sa.Column("result_id", sa.BigInteger(), nullable=True),
        sa.Column("config", OBJECT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _refers("edits", "checkpoint_id", "checkpoints"),
        _refers("edits", "refinement_id", "refinements"),
        _refers("edits", "result_id", "checkpoints"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_edits")),
    )
    op.create_table(
        "new_targets",
        _part("edit_id"),
        _place("step"),
        _part("fact_id"),
        sa.Column("operation", WORDS, nullable=False),
        sa.Column("new_object", WORDS, nullable=True),
        sa.CheckConstraint("operation <> 'update' OR new_object IS NOT NULL", name=op.f("ck_edit_targets_new_object")),
        sa.CheckConstraint(_operations(relaxed=relaxed), name=op.f("ck_edit_targets_operation")),
        sa.CheckConstraint("step >= 0", name=op.f("ck_edit_targets_step")),
        _refers("edit_targets", "edit_id", "edits"),
        _refers("edit_targets", "fact_id", "facts"),
        sa.PrimaryKeyConstraint("edit_id", "step", "fact_id", name=op.f("pk_edit_targets")),
        sqlite_with_rowid=False,
    )
    for new, old in (("new_edits", "edits"), ("new_targets", "edit_targets")):
        op.execute(f"INSERT INTO {new} SELECT * FROM {old}")  # noqa: S608
        op.drop_table(old)
        op.rename_table(new, old)
    op.create_index(op.f("ix_edits_checkpoint_id"), "edits", ["checkpoint_id"])
    op.create_index(op.f("ix_edit_targets_fact_id"), "edit_targets", ["fact_id"])


def _part(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def _place(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), autoincrement=False, nullable=False)


def _from_zero(table: str, name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f'"{name}" >= 0', name=op.f(f"ck_{table}_{name}"))


def _refers(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"))
