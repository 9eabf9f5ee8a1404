"""Base of the models, and column types and SQL constructs that mean the same on SQLite and PostgreSQL."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    ColumnElement,
    DateTime,
    Dialect,
    Index,
    MetaData,
    Text,
    TypeDecorator,
    Uuid,
    bindparam,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import NullType, TypeEngine

JsonList = JSON().with_variant(JSONB(), "postgresql")  # a list of texts, which `json_has` searches


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: refuses naive datetimes, always comes back in UTC, microseconds kept on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware datetime into UTC; SQLite stores it without an offset, so that text order is time order."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a timestamp needs a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class _ValueSet(TypeDecorator[Sequence[Any]]):
    """Many values as one bound value: an array on PostgreSQL, a JSON text on SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item: type[BigInteger | Text | Uuid[UUID]]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(ARRAY(self.item()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        """The value that the driver sees; SQLite keeps UUIDs as their hexadecimal digits."""
        if value is None or dialect.name == "postgresql":
            return value
        return json.dumps([one.hex if isinstance(one, UUID) else one for one in value])


class Base(DeclarativeBase):
    """Base of all models; its naming convention lets alembic name constraints alike."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {int: BigInteger, UUID: Uuid(), datetime: UtcDateTime()}


def one_of(column: str, choices: type[StrEnum]) -> str:
    """The check constraint that `column` holds one of `choices`."""
    return f"{column} IN ({', '.join(repr(choice.value) for choice in choices)})"


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of the rows that meet the condition `where`, on both databases."""
    return Index(name, *columns, unique=unique, postgresql_where=text(where), sqlite_where=text(where))


# Milliseconds are all that SQLite's clock gives; the zeros keep the width of SQLAlchemy's own format.
_SQLITE_NOW = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
_SQLITE_PAIRS = "SELECT l.value, r.value FROM json_each({2}) AS l JOIN json_each({3}) AS r USING (key)"

_Value = TypeVar("_Value")


def _function(
    name: str, type_: TypeEngine[_Value], *, postgresql: str, sqlite: str
) -> Callable[..., GenericFunction[_Value]]:
    """A function with its SQL in each dialect; `{0}`, `{1}`, … stand for its arguments."""
    function = type(name, (GenericFunction,), {"type": type_, "inherit_cache": True})
    for dialect, template in (("postgresql", postgresql), ("sqlite", sqlite)):

        def render(element: GenericFunction[Any], compiler: SQLCompiler, *, _sql: str = template, **kw: Any) -> str:
            return _sql.format(*(compiler.process(clause, **kw) for clause in element.clauses))

        compiles(function, dialect)(render)
    return function


# The database's clock at the moment of evaluation (not of the transaction's start).
database_now = _function("database_now", UtcDateTime(), postgresql="clock_timestamp()", sqlite=_SQLITE_NOW)

# The database's clock at the start of the statement, the same in all of it: it may bound a range of an index.
statement_now = _function("statement_now", UtcDateTime(), postgresql="statement_timestamp()", sqlite=_SQLITE_NOW)

# The later of two instants.
latest = _function("latest", UtcDateTime(), postgresql="greatest({0}, {1})", sqlite="max({0}, {1})")

# An instant so many whole seconds after another one.
after_seconds = _function(
    "after_seconds",
    UtcDateTime(),
    postgresql="({0} + make_interval(secs => {1}))",
    sqlite="strftime('%Y-%m-%d %H:%M:%f000', {0}, ({1}) || ' seconds')",
)

least_of = _function("least_of", BigInteger(), postgresql="least({0}, {1})", sqlite="min({0}, {1})")
greatest_of = _function("greatest_of", BigInteger(), postgresql="greatest({0}, {1})", sqlite="max({0}, {1})")

# The length of a text in bytes.
octets_of = _function("octets_of", BigInteger(), postgresql="octet_length({0})", sqlite="length(CAST({0} AS BLOB))")

# The length of a JSON text of up to 16 KiB in bytes. PostgreSQL expands nothing: it says 16 KiB if compressed.
most_octets_of = _function(
    "most_octets_of",
    BigInteger(),
    postgresql="CASE WHEN pg_column_compression({0}) IS NULL THEN pg_column_size({0}) ELSE 16384 END",
    sqlite="length(CAST({0} AS BLOB))",
)

# The words of a text that one space separates, as a JSON list; immutable, so that a column can be made of it.
json_words = _function(
    "json_words",
    JsonList,
    postgresql="""((('["'::text || replace(({0})::text, ' '::text, '","'::text)) || '"]'::text))::jsonb""",
    sqlite="""'["' || replace({0}, ' ', '","') || '"]'""",
)

# Of a Boolean SQLAlchemy would make `… = 1` on SQLite, which no index can serve.
_CONDITION: TypeEngine[Any] = NullType()
_among = _function(
    "_among", _CONDITION, postgresql="{0} = ANY ({1})", sqlite="{0} IN (SELECT value FROM json_each({1}))"
)
_among_pairs = _function(
    "_among_pairs",
    _CONDITION,
    postgresql="({0}, {1}) IN (SELECT * FROM unnest({2}, {3}))",
    sqlite=f"({{0}}, {{1}}) IN ({_SQLITE_PAIRS})",
)
_json_has = _function(
    "_json_has", _CONDITION, postgresql="{0} ? {1}", sqlite="{1} IN (SELECT value FROM json_each({0}))"
)


def among(column: ColumnElement[int] | InstrumentedAttribute[int], positions: Sequence[int]) -> ColumnElement[bool]:
    """`column` is one of `positions`: a range by its ends, others as one bound value, so it is prepared once."""
    if isinstance(positions, range) and positions.step == 1 and positions:
        return column.between(positions[0], positions[-1])
    return _among(column, bindparam(None, list(positions), type_=_ValueSet(BigInteger)))


def among_ids(column: InstrumentedAttribute[UUID], ids: Iterable[UUID]) -> ColumnElement[bool]:
    """`column` is one of `ids`, which are one bound value."""
    return _among(column, bindparam(None, list(ids), type_=_ValueSet(Uuid)))


def among_pairs(
    columns: tuple[InstrumentedAttribute[str], InstrumentedAttribute[str | None]], pairs: Sequence[tuple[str, str]]
) -> ColumnElement[bool]:
    """The two `columns` together are one of `pairs`."""
    lefts, rights = ([pair[side] for pair in pairs] for side in (0, 1))
    values = (bindparam(None, side, type_=_ValueSet(Text)) for side in (lefts, rights))
    return _among_pairs(*columns, *values)


def json_has(items: InstrumentedAttribute[list[str]], item: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """`item` is one of the texts of the JSON list `items`: the whole text, not a part of it."""
    return _json_has(items, item)
