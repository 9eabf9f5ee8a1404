"""How many rows the statements of a read visit."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database

Result = TypeVar("Result")


async def count_visited(
    database: Database, table: str, read: Callable[[AsyncSession], Awaitable[Result]]
) -> tuple[Result, float]:
    """The result of `read`, and how many rows of `table` are visited for it.

    On SQLite the number is that of the instructions, divided by 100: a visit takes about ten.
    """
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        statements.append((statement, parameters))

    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    async with database.read() as session:
        connection = await session.connection()
        driver: Any = (await connection.get_raw_connection()).driver_connection
        if database.is_sqlite:
            await driver.set_progress_handler(count, 100)
        event.listen(database.engine.sync_engine, "before_cursor_execute", note)
        result = await read(session)
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)
        if database.is_sqlite:
            await driver.set_progress_handler(None, 100)
            return result, steps
        visited = 0.0
        for statement, parameters in statements:
            explained = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            [plan] = explained.scalar_one()
            visited += sum(_rows(plan["Plan"], table))
        return result, visited


def _rows(node: dict[str, Any], table: str) -> Iterator[float]:
    """The rows that each scan of the table has read."""
    if node.get("Relation Name") == table:
        yield (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    for child in node.get("Plans", []):
        yield from _rows(child, table)
