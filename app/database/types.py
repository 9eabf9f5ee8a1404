"""Column types and SQL constructs that mean the same on SQLite and PostgreSQL."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    ColumnElement,
    DateTime,
    Dialect,
    Text,
    TypeDecorator,
    Uuid,
    bindparam,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import NullType


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
        """Attach or convert to UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class database_now(GenericFunction[datetime]):  # noqa: N801 - named as the SQL function that it is
    """The database's clock at the moment of evaluation (not of the transaction's start)."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(database_now, "postgresql")
def _now_postgresql(_element: database_now, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "clock_timestamp()"


@compiles(database_now, "sqlite")
def _now_sqlite(_element: database_now, _compiler: SQLCompiler, **_kw: Any) -> str:
    # Milliseconds are all that SQLite's clock gives; the zeros keep the width of SQLAlchemy's own format.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class statement_now(GenericFunction[datetime]):  # noqa: N801
    """The database's clock at the start of the statement, the same in all of it: it may bound a range of an index."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(statement_now, "postgresql")
def _statement_now_postgresql(_element: statement_now, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "statement_timestamp()"


@compiles(statement_now, "sqlite")
def _statement_now_sqlite(_element: statement_now, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class latest(GenericFunction[datetime]):  # noqa: N801
    """The later of two instants."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(latest, "postgresql")
def _latest_postgresql(element: latest, compiler: SQLCompiler, **kw: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **kw)})"


@compiles(latest, "sqlite")
def _latest_sqlite(element: latest, compiler: SQLCompiler, **kw: Any) -> str:
    return f"max({compiler.process(element.clauses, **kw)})"


class _ValueSet(TypeDecorator[Sequence[Any]]):
    """Many values as one bound value: an array on PostgreSQL, a JSON text on SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item: type[BigInteger | Text | Uuid[UUID]]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """The type that the driver sees."""
        return dialect.type_descriptor(ARRAY(self.item()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        """The value that the driver sees; SQLite keeps UUIDs as their hexadecimal digits."""
        if value is None or dialect.name == "postgresql":
            return value
        return json.dumps([one.hex if isinstance(one, UUID) else one for one in value])


class _among(GenericFunction[Any]):  # noqa: N801
    type = NullType()  # of a Boolean SQLAlchemy would make `… = 1` on SQLite, which no index can serve
    inherit_cache = True
    name = "among"


@compiles(_among, "postgresql")
def _among_postgresql(element: _among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(_among, "sqlite")
def _among_sqlite(element: _among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - compiled clauses


def among(column: ColumnElement[int] | InstrumentedAttribute[int], positions: Sequence[int]) -> ColumnElement[bool]:
    """`column` is one of `positions`: a range by its ends, others as one bound value, so it is prepared once."""
    if isinstance(positions, range) and positions.step == 1 and positions:
        return column.between(positions[0], positions[-1])
    return _among(column, bindparam(None, list(positions), type_=_ValueSet(BigInteger)))


def among_ids(column: InstrumentedAttribute[UUID], ids: Iterable[UUID]) -> ColumnElement[bool]:
    """The same for UUIDs."""
    return _among(column, bindparam(None, list(ids), type_=_ValueSet(Uuid)))


class _among_pairs(GenericFunction[Any]):  # noqa: N801
    type = NullType()
    inherit_cache = True
    name = "among_pairs"


@compiles(_among_pairs, "postgresql")
def _among_pairs_postgresql(element: _among_pairs, compiler: SQLCompiler, **kw: Any) -> str:
    left, right, lefts, rights = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({left}, {right}) IN (SELECT * FROM unnest({lefts}, {rights}))"  # noqa: S608 - compiled clauses


@compiles(_among_pairs, "sqlite")
def _among_pairs_sqlite(element: _among_pairs, compiler: SQLCompiler, **kw: Any) -> str:
    left, right, lefts, rights = (compiler.process(clause, **kw) for clause in element.clauses)
    pairs = f"SELECT l.value, r.value FROM json_each({lefts}) AS l JOIN json_each({rights}) AS r USING (key)"  # noqa: S608
    return f"({left}, {right}) IN ({pairs})"


def among_pairs(
    columns: tuple[InstrumentedAttribute[str], InstrumentedAttribute[str | None]], pairs: Sequence[tuple[str, str]]
) -> ColumnElement[bool]:
    """The two `columns` together are one of `pairs`."""
    lefts, rights = ([pair[side] for pair in pairs] for side in (0, 1))
    values = (bindparam(None, side, type_=_ValueSet(Text)) for side in (lefts, rights))
    return _among_pairs(*columns, *values)


JsonList = JSON().with_variant(JSONB(), "postgresql")  # a list of texts, which `json_has` searches


class json_words(GenericFunction[Any]):  # noqa: N801
    """The words of a text that one space separates, as a JSON list; immutable, so that a column can be made of it."""

    type = JsonList
    inherit_cache = True


@compiles(json_words, "postgresql")
def _json_words_postgresql(element: json_words, compiler: SQLCompiler, **kw: Any) -> str:
    [words] = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"""((('["'::text || replace(({words})::text, ' '::text, '","'::text)) || '"]'::text))::jsonb"""


@compiles(json_words, "sqlite")
def _json_words_sqlite(element: json_words, compiler: SQLCompiler, **kw: Any) -> str:
    [words] = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"""'["' || replace({words}, ' ', '","') || '"]'"""


class _json_has(GenericFunction[Any]):  # noqa: N801
    type = NullType()
    inherit_cache = True
    name = "json_has"


@compiles(_json_has, "postgresql")
def _json_has_postgresql(element: _json_has, compiler: SQLCompiler, **kw: Any) -> str:
    items, item = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{items} ? {item}"


@compiles(_json_has, "sqlite")
def _json_has_sqlite(element: _json_has, compiler: SQLCompiler, **kw: Any) -> str:
    items, item = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{item} IN (SELECT value FROM json_each({items}))"  # noqa: S608 - compiled clauses


def json_has(items: InstrumentedAttribute[list[str]], item: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """`item` is one of the texts of the JSON list `items`: the whole text, not a part of it."""
    return _json_has(items, item)
