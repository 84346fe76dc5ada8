"""What the catalog's tables are made of: types that both databases keep alike, and the kinds of columns.

Knows nothing of the tables.
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
    Integer,
    MetaData,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import JSONB

LABEL_LENGTH = 100
SUBJECT_LENGTH = 500  # characters: four bytes each still fit into one entry of a PostgreSQL index


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """A point in time, kept in UTC and returned with its time zone by every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"{value!r} has no time zone")
        when = value.astimezone(UTC)
        return when.replace(tzinfo=None) if dialect.name == "sqlite" else when

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


WORDS = Text().with_variant(Text(collation="C"), "postgresql")  # so that both databases sort alike
OBJECT = JSON().with_variant(JSONB(), "postgresql")


def identity() -> Column[int]:
    return Column("id", BigInteger, primary_key=True, autoincrement=False)


def part(name: str, target: str | None = None) -> Column[int]:
    """Return one column of a composite primary key, and of a foreign key where `target` is given."""
    keys = [ForeignKey(target)] if target else []
    return Column(name, BigInteger, *keys, primary_key=True, autoincrement=False)


def place() -> list[Column[int]]:
    return [Column(name, Integer, primary_key=True, autoincrement=False) for name in ("layer", "index")]


def link(name: str, target: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, ForeignKey(target), nullable=nullable)


def number(name: str, *, nullable: bool = False) -> Column[float]:
    return Column(name, Double, nullable=nullable)


def count(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, Integer, nullable=nullable)


def words(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, WORDS, nullable=nullable)


def label() -> list[Column[str] | CheckConstraint]:
    short = CheckConstraint(f"length(label) BETWEEN 1 AND {LABEL_LENGTH}", name="label")
    return [Column("label", WORDS, primary_key=True), short]


def moment(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, Moment, nullable=nullable)


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def from_zero() -> list[CheckConstraint]:
    return [CheckConstraint("layer >= 0", name="layer"), CheckConstraint('"index" >= 0', name="index")]
