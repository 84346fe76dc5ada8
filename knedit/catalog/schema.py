"""The catalog's tables: one a record of `knedit.records`, its columns named and ordered as the record's fields.

Knows nothing of where the database is, nor how its tables come to be: that is the migrations' work, and a test
holds that these tables and the migrations agree.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

from knedit.records import NEURON_ROLES, OPERATIONS, ROLES, STATUSES

SUBJECT_LENGTH = 500  # characters: four bytes each still fit into one entry of a PostgreSQL index


class Moment(TypeDecorator[datetime]):
    """A point in time, kept in UTC and returned with its time zone by every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"{value!r} has no time zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


WORDS = Text().with_variant(Text(collation="C"), "postgresql")  # so that both databases sort alike
OBJECT = JSON().with_variant(JSONB(), "postgresql")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _identity() -> Column[int]:
    return Column("id", BigInteger, primary_key=True, autoincrement=False)


def _part(name: str, target: str | None = None) -> Column[int]:
    """Return one column of a composite primary key, and of a foreign key where `target` is given."""
    keys = [ForeignKey(target)] if target else []
    return Column(name, BigInteger, *keys, primary_key=True, autoincrement=False)


def _place() -> list[Column[int]]:
    return [Column(name, Integer, primary_key=True, autoincrement=False) for name in ("layer", "index")]


def _link(name: str, target: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, ForeignKey(target), nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> Column[float]:
    return Column(name, Double, nullable=nullable)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def _words(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, WORDS, nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, Moment, nullable=nullable)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _from_zero() -> list[CheckConstraint]:
    return [CheckConstraint("layer >= 0", name="layer"), CheckConstraint('"index" >= 0', name="index")]


relations = Table(
    "relations",
    metadata,
    _identity(),
    _words("key"),
    _words("label"),
    UniqueConstraint("key"),
)

facts = Table(
    "facts",
    metadata,
    _identity(),
    _link("relation_id", "relations.id"),
    _words("subject"),
    _words("object"),
    _words("status"),
    _one_of("status", STATUSES),
    CheckConstraint(f"length(subject) <= {SUBJECT_LENGTH}", name="subject"),
    Index(None, "relation_id", "subject"),
    Index(None, "subject"),
)

prompts = Table(
    "prompts",
    metadata,
    _identity(),
    _link("fact_id", "facts.id"),
    _words("role"),
    _words("text"),
    _words("answer", nullable=True),
    _words("language"),
    _words("status"),
    _one_of("role", ROLES),
    _one_of("status", STATUSES),
    Index(None, "fact_id"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _identity(),
    _words("name"),
    _words("revision"),
    _words("sha256"),
    _words("family"),
    _count("n_layers"),
    _count("ffn_width"),
    _link("parent_id", "checkpoints.id", nullable=True),
    _words("path"),
    Column("files", OBJECT, nullable=False),
    UniqueConstraint("name"),
    CheckConstraint("n_layers > 0", name="n_layers"),
    CheckConstraint("ffn_width > 0", name="ffn_width"),
    CheckConstraint("parent_id <> id", name="parent_id"),
)

attribution_runs = Table(
    "attribution_runs",
    metadata,
    _identity(),
    _link("checkpoint_id", "checkpoints.id"),
    Column("config", OBJECT, nullable=False),
    _words("version"),
    _moment("started_at"),
    _moment("finished_at", nullable=True),
    Index(None, "checkpoint_id"),
)

prompt_attributions = Table(
    "prompt_attributions",
    metadata,
    _part("run_id", "attribution_runs.id"),
    _part("prompt_id", "prompts.id"),
    _number("probability"),
    _number("completeness_error", nullable=True),
    _number("peak"),
    _words("status"),
    _words("reason", nullable=True),
    CheckConstraint("status <> ''", name="status"),
    sqlite_with_rowid=False,
)

neuron_scores = Table(
    "neuron_scores",
    metadata,
    _part("run_id"),
    _part("prompt_id"),
    *_place(),
    _number("score"),
    ForeignKeyConstraint(["run_id", "prompt_id"], ["prompt_attributions.run_id", "prompt_attributions.prompt_id"]),
    *_from_zero(),
    Index(None, "run_id", "layer", "index"),
    sqlite_with_rowid=False,
)

refinements = Table(
    "refinements",
    metadata,
    _identity(),
    _link("run_id", "attribution_runs.id"),
    Column("config", OBJECT, nullable=False),
    _moment("created_at"),
    Index(None, "run_id"),
)

refined_facts = Table(
    "refined_facts",
    metadata,
    _part("refinement_id", "refinements.id"),
    _part("fact_id", "facts.id"),
    _count("prompts"),
    _number("share"),
    _count("neurons"),
    CheckConstraint("prompts >= 0", name="prompts"),
    CheckConstraint("neurons >= 0", name="neurons"),
    sqlite_with_rowid=False,
)

knowledge_neurons = Table(
    "knowledge_neurons",
    metadata,
    _part("refinement_id"),
    _part("fact_id"),
    *_place(),
    _number("share"),
    _number("score"),
    _words("role"),
    ForeignKeyConstraint(["refinement_id", "fact_id"], ["refined_facts.refinement_id", "refined_facts.fact_id"]),
    *_from_zero(),
    _one_of("role", NEURON_ROLES),
    Index(None, "refinement_id", "layer", "index"),
    Index(None, "fact_id"),
    sqlite_with_rowid=False,
)

edits = Table(
    "edits",
    metadata,
    _identity(),
    _link("refinement_id", "refinements.id"),
    _link("checkpoint_id", "checkpoints.id"),
    _link("result_id", "checkpoints.id", nullable=True),
    Column("config", OBJECT, nullable=False),
    _moment("created_at"),
    Index(None, "checkpoint_id"),
)

edit_targets = Table(
    "edit_targets",
    metadata,
    _part("edit_id", "edits.id"),
    Column("step", Integer, primary_key=True, autoincrement=False),
    _part("fact_id", "facts.id"),
    _words("operation"),
    _words("new_object", nullable=True),
    CheckConstraint("step >= 0", name="step"),
    _one_of("operation", OPERATIONS),
    CheckConstraint("operation <> 'update' OR new_object IS NOT NULL", name="new_object"),
    Index(None, "fact_id"),
    sqlite_with_rowid=False,
)

edit_neurons = Table(
    "edit_neurons",
    metadata,
    _part("edit_id", "edits.id"),
    Column("step", Integer, primary_key=True, autoincrement=False),
    *_place(),
    _number("norm"),
    _number("new_norm"),
    CheckConstraint("step >= 0", name="step"),
    *_from_zero(),
    sqlite_with_rowid=False,
)

evaluations = Table(
    "evaluations",
    metadata,
    _part("edit_id", "edits.id"),
    _part("checkpoint_id", "checkpoints.id"),
    _part("fact_id", "facts.id"),
    _part("prompt_id", "prompts.id"),
    Column("metric", WORDS, primary_key=True),
    _number("before", nullable=True),
    _number("after", nullable=True),
    _words("text_before", nullable=True),
    _words("text_after", nullable=True),
    sqlite_with_rowid=False,
)
