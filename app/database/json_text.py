"""Lets the database write JSON, in the notation of the API: several times as fast as to build it from loaded rows."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import JSON, Boolean, ColumnElement, Text, Uuid, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from app.database.types import UtcDateTime

_UUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))  # first character and length in the hexadecimal digits


class _json_text(GenericFunction[str]):  # noqa: N801 - named as the SQL function that it is
    type = Text()
    inherit_cache = True
    name = "json_text"


def json_text(members: dict[str, ColumnElement[Any]]) -> ColumnElement[str]:
    """The text of a JSON object with these members, which are trusted names.

    UUIDs are lower case with hyphens, instants RFC 3339 in UTC with microseconds unless these are zero.
    """
    names: Iterator[ColumnElement[Any]] = (literal_column(f"'{name}'") for name in members)
    return _json_text(*(part for pair in zip(names, members.values(), strict=True) for part in pair))


@compiles(_json_text, "postgresql")
def _json_text_postgresql(element: _json_text, compiler: SQLCompiler, **kw: Any) -> str:
    parts = (_postgresql(clause, compiler.process(clause, **kw)) for clause in element.clauses)
    return f"CAST(json_build_object({', '.join(parts)}) AS text)"


def _postgresql(clause: ColumnElement[Any], sql: str) -> str:
    if not isinstance(clause.type, UtcDateTime):
        return sql
    return f"""replace(to_char({sql} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')"""


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
