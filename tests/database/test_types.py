"""Types and constructs mean the same on both databases."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select
from sqlalchemy.exc import StatementError

from app.database.engine import Database
from app.database.types import UtcDateTime, among, database_now, latest

instants = Table("instants", MetaData(), Column("id", Integer, primary_key=True), Column("at", UtcDateTime()))


@pytest.fixture
async def table(database: Database) -> Table:
    async with database.transaction() as session:
        await (await session.connection()).run_sync(instants.create)
    return instants


async def test_instants_keep_their_microseconds_and_come_back_in_utc(database: Database, table: Table) -> None:
    here = datetime(2026, 1, 15, 10, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    async with database.transaction() as session:
        await session.execute(insert(table).values(id=1, at=here))
        await session.execute(insert(table).values(id=2, at=None))
    async with database.read() as session:
        rows = [tuple(row) for row in await session.execute(select(table).order_by(table.c.id))]
        assert await session.scalar(select(table.c.id).where(table.c.at == here)) == 1
    assert rows == [(1, here), (2, None)]
    assert rows[0][1].tzinfo is UTC


async def test_an_instant_without_a_time_zone_is_refused(database: Database, table: Table) -> None:
    with pytest.raises(StatementError, match="time zone"):
        async with database.transaction() as session:
            await session.execute(insert(table).values(id=1, at=datetime(2026, 1, 15)))  # noqa: DTZ001 - the point


async def test_the_database_clock_is_ours_within_a_minute(database: Database) -> None:
    async with database.read() as session:
        now = (await session.execute(select(database_now()))).scalar_one()
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("days", [-1, 1])
async def test_latest_is_the_later_one(database: Database, days: int) -> None:
    one = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
    other = one + timedelta(days=days)
    async with database.transaction() as session:
        await (await session.connection()).run_sync(instants.create)
        await session.execute(insert(instants).values(id=1, at=one))
        assert await session.scalar(select(latest(instants.c.at, other))) == max(one, other)


@pytest.mark.parametrize("positions", [[], [2], [3, 1, 99], list(range(50_000))])
async def test_among_takes_any_number_of_positions(database: Database, table: Table, positions: list[int]) -> None:
    async with database.transaction() as session:
        await session.execute(insert(table), [{"id": number, "at": None} for number in (1, 2, 3)])
        found = (await session.scalars(select(table.c.id).where(among(table.c.id, positions)))).all()
    assert sorted(found) == sorted({1, 2, 3} & set(positions))
