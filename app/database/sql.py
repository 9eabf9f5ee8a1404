"""Many rows as one or a few bound values, which a statement reads like a table."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, Dialect, FromClause, Text, bindparam, column, func, select, type_coerce
from sqlalchemy.types import TypeEngine


def bound_rows(dialect: Dialect, columns: Mapping[str, TypeEngine[Any]], rows: Sequence[Sequence[Any]]) -> FromClause:
    """`rows`, of one value for each of `columns`: arrays on PostgreSQL, a JSON text on SQLite.

    The statement is the same for any number of rows, so it is prepared once.
    """
    return (_unnested if dialect.name == "postgresql" else _from_json)(dialect, columns, rows)


def _unnested(_dialect: Dialect, columns: Mapping[str, TypeEngine[Any]], rows: Sequence[Sequence[Any]]) -> FromClause:
    arrays = (
        bindparam(None, [row[place] for row in rows], type_=ARRAY(type_))
        for place, type_ in enumerate(columns.values())
    )
    named = (column(name, type_) for name, type_ in columns.items())
    return func.unnest(*arrays).table_valued(*named).render_derived(name="bound")


def _from_json(dialect: Dialect, columns: Mapping[str, TypeEngine[Any]], rows: Sequence[Sequence[Any]]) -> FromClause:
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
