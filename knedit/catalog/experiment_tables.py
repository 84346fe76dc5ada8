"""The catalog's tables of experiments: what was asked, which parts of it are done, what they found.

Knows nothing of any experiment; `schema` tells these tables with all others.
"""

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, Index, Table

from knedit.catalog.columns import (
    OBJECT,
    SUBJECT_LENGTH,
    WORDS,
    identity,
    link,
    metadata,
    moment,
    number,
    part,
    words,
)

experiments = Table(
    "experiments",
    metadata,
    identity(),
    link("checkpoint_id", "checkpoints.id"),
    link("refinement_id", "refinements.id", nullable=True),
    link("edit_id", "edits.id", nullable=True),
    words("name"),
    Column("config", OBJECT, nullable=False),
    words("version"),
    moment("started_at"),
    moment("finished_at", nullable=True),
    CheckConstraint("name <> ''", name="name"),
    Index(None, "checkpoint_id", "name"),
)

experiment_parts = Table(
    "experiment_parts",
    metadata,
    part("experiment_id", "experiments.id"),
    Column("part", WORDS, primary_key=True),
    link("relation_id", "relations.id", nullable=True),
    link("fact_id", "facts.id", nullable=True),
    words("status"),
    words("reason", nullable=True),
    number("seconds"),
    moment("finished_at"),
    CheckConstraint(f"length(part) <= {SUBJECT_LENGTH}", name="part"),
    CheckConstraint("status <> ''", name="status"),
    Index(None, "fact_id"),
    sqlite_with_rowid=False,
)

experiment_values = Table(
    "experiment_values",
    metadata,
    part("experiment_id"),
    *[Column(name, WORDS, primary_key=True) for name in ("part", "series", "key", "metric")],
    number("value", nullable=True),
    words("text", nullable=True),
    ForeignKeyConstraint(["experiment_id", "part"], ["experiment_parts.experiment_id", "experiment_parts.part"]),
    CheckConstraint(f"length(part) + length(series) + length(key) + length(metric) <= {SUBJECT_LENGTH}", name="key"),
    sqlite_with_rowid=False,
)
