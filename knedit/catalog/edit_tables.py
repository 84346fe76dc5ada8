"""The catalog's tables of edits: what is to change, what solving it gave, which gates it passed, how it measured.

Knows nothing of how weights are changed; `schema` tells these tables with all others.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
)

from knedit.catalog.columns import (
    OBJECT,
    WORDS,
    count,
    from_zero,
    identity,
    link,
    metadata,
    moment,
    number,
    one_of,
    part,
    place,
    words,
)
from knedit.records import OPERATIONS

edits = Table(
    "edits",
    metadata,
    identity(),
    link("refinement_id", "refinements.id", nullable=True),
    link("checkpoint_id", "checkpoints.id"),
    link("result_id", "checkpoints.id", nullable=True),
    Column("config", OBJECT, nullable=False),
    moment("created_at"),
    Index(None, "checkpoint_id"),
)

edit_targets = Table(
    "edit_targets",
    metadata,
    part("edit_id", "edits.id"),
    Column("step", Integer, primary_key=True, autoincrement=False),
    part("fact_id", "facts.id"),
    words("operation"),
    words("new_object", nullable=True),
    CheckConstraint("step >= 0", name="step"),
    one_of("operation", OPERATIONS),
    CheckConstraint("operation <> 'update' OR new_object IS NOT NULL", name="new_object"),
    Index(None, "fact_id"),
    sqlite_with_rowid=False,
)

edit_neurons = Table(
    "edit_neurons",
    metadata,
    part("edit_id", "edits.id"),
    Column("step", Integer, primary_key=True, autoincrement=False),
    *place(),
    number("norm"),
    number("new_norm"),
    CheckConstraint("step >= 0", name="step"),
    *from_zero(),
    sqlite_with_rowid=False,
)

evaluations = Table(
    "evaluations",
    metadata,
    part("edit_id", "edits.id"),
    part("checkpoint_id", "checkpoints.id"),
    part("fact_id", "facts.id"),
    part("prompt_id", "prompts.id"),
    Column("metric", WORDS, primary_key=True),
    number("before", nullable=True),
    number("after", nullable=True),
    words("text_before", nullable=True),
    words("text_after", nullable=True),
    sqlite_with_rowid=False,
)

edit_values = Table(
    "edit_values",
    metadata,
    part("edit_id", "edits.id"),
    *place(),
    Column("vector", LargeBinary, nullable=False),
    *from_zero(),
    sqlite_with_rowid=False,
)

edit_outcomes = Table(
    "edit_outcomes",
    metadata,
    part("edit_id"),
    Column("step", Integer, primary_key=True, autoincrement=False),
    part("fact_id"),
    Column("converged", Boolean, nullable=False),
    count("steps"),
    number("remainder"),
    number("worst"),
    Column("layers", OBJECT, nullable=False),
    ForeignKeyConstraint(
        ["edit_id", "step", "fact_id"], ["edit_targets.edit_id", "edit_targets.step", "edit_targets.fact_id"]
    ),
    sqlite_with_rowid=False,
)

edit_gates = Table(
    "edit_gates",
    metadata,
    part("edit_id", "edits.id"),
    Column("gate", WORDS, primary_key=True),
    number("value"),
    number("threshold"),
    Column("passed", Boolean, nullable=False),
    Column("forced", Boolean, nullable=False),
    sqlite_with_rowid=False,
)
