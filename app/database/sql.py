"""Rows as bound values, which a statement reads like a table; JSON that the database writes; counts; bulk writes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    ColumnElement,
    CursorResult,
    Dialect,
    FromClause,
    ScalarSelect,
    Select,
    Text,
    UpdateBase,
    Uuid,
    bindparam,
    column,
    func,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeEngine

from app.database.types import Base, UtcDateTime, database_now

_UUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))  # first character and length in the hexadecimal digits


def bound_rows(dialect: Dialect, columns: Mapping[str, TypeEngine[Any]], rows: Sequence[Sequence[Any]]) -> FromClause:
    """`rows`, of one value for each of `columns`: arrays on PostgreSQL, a JSON text on SQLite.

    The statement is the same for any number of rows, so it is prepared once.
    """
    if dialect.name == "postgresql":
        arrays = (
            bindparam(None, [row[place] for row in rows], type_=ARRAY(type_))
            for place, type_ in enumerate(columns.values())
        )
        named = (column(name, type_) for name, type_ in columns.items())
        return func.unnest(*arrays).table_valued(*named).render_derived(name="bound")
    encoders = [type_.dialect_impl(dialect).bind_processor(dialect) for type_ in columns.values()]
    values = [
        [
            value if value is None or encode is None else encode(value)
            for encode, value in zip(encoders, row, strict=True)
        ]
        for row in rows
    ]
    source = func.json_each(bindparam(None, json.dumps(values), type_=Text())).table_valued("value")
    return select(
        *(
            type_coerce(func.json_extract(source.c.value, f"$[{place}]"), type_).label(name)
            for place, (name, type_) in enumerate(columns.items())
        )
    ).subquery("bound")


async def read_now(session: AsyncSession) -> datetime:
    """The database's time."""
    return (await session.scalars(select(database_now()))).one()


def insert_or_update(session: AsyncSession, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT into `table` that may have a clause ON CONFLICT DO UPDATE."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def count_up_to(limit: int, rows: Select[Any]) -> ScalarSelect[int]:
    """The number of `rows`, at most `limit`."""
    return select(func.count()).select_from(rows.limit(limit).subquery()).scalar_subquery()


async def write(session: AsyncSession, statement: UpdateBase) -> int:
    """Update or delete rows of which the session holds no objects; returns how many.

    By default the session would look for objects to synchronize, and read back every row.
    """
    result = await session.execute(statement, execution_options={"synchronize_session": False})
    return cast("CursorResult[Any]", result).rowcount


class _json_text(GenericFunction[str]):  # noqa: N801 - named as the SQL function that it is
    type = Text()
    inherit_cache = True
    name = "json_text"


def json_text(members: dict[str, ColumnElement[Any]]) -> ColumnElement[str]:
    """The text of a JSON object with these members, whose names are trusted; faster than to build it from loaded rows.

    It has no spaces on either database. UUIDs are lower case with hyphens, instants RFC 3339 in UTC with microseconds
    unless these are zero.
    """
    names: Iterator[ColumnElement[Any]] = (literal_column(f"'{name}'") for name in members)
    return _json_text(*(part for pair in zip(names, members.values(), strict=True) for part in pair))


@compiles(_json_text, "postgresql")
def _json_text_postgresql(element: _json_text, compiler: SQLCompiler, **kw: Any) -> str:
    # Not json_build_object, which puts spaces around the colons.
    names, values = list(element.clauses)[::2], list(element.clauses)[1::2]
    members = [
        f"""'"{compiler.process(name, **kw).strip("'")}":' || {_postgresql(value, compiler.process(value, **kw))}"""
        for name, value in zip(names, values, strict=True)
    ]
    return " || ".join(["'{'", " || ',' || ".join(members), "'}'"])


def _postgresql(clause: ColumnElement[Any], sql: str) -> str:
    match clause.type:
        case UtcDateTime():
            instant = f"""to_char({sql} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
            text = f"""'"' || replace({instant}, '.000000Z', 'Z') || '"'"""
        case JSON():
            text = f"CAST({sql} AS text)"
        case _:
            text = f"CAST(to_json({sql}) AS text)"
    return f"coalesce({text}, 'null')"


@compiles(_json_text, "sqlite")
def _json_text_sqlite(element: _json_text, compiler: SQLCompiler, **kw: Any) -> str:
    parts = (_sqlite(clause, compiler.process(clause, **kw)) for clause in element.clauses)
    return f"json_object({', '.join(parts)})"


def _sqlite(clause: ColumnElement[Any], sql: str) -> str:
    match clause.type:
        case UtcDateTime():
            return f"replace(replace({sql}, ' ', 'T') || 'Z', '.000000Z', 'Z')"
        case Uuid():
            return " || '-' || ".join(f"substr({sql}, {first}, {length})" for first, length in _UUID_PARTS)
        case Boolean():
            return f"json(CASE WHEN {sql} THEN 'true' ELSE 'false' END)"
        case JSON():
            return f"json({sql})"
        case _:
            return sql
