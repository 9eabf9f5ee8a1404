"""A heartbeat and the settlements never wait for each other in a circle; rows are locked on PostgreSQL alone."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest_asyncio
from sqlalchemy import select, text

from app.database.engine import Database
from app.deliveries.claim import ClaimRepository
from app.deliveries.settlement_repository import SettlementRepository
from app.subscriptions.models import Delivery
from tests.deliveries.support import add_subscription, make_sweeper, settled
from tests.events.support import add_events
from tests.support.marks import on_postgresql
from tests.support.waiting import until

NOW = datetime.now(UTC)
LEASE = timedelta(hours=1)
EXPECTED_WAIT_SECONDS = 5

pytestmark = on_postgresql


@pytest_asyncio.fixture(loop_scope="session")
async def claimed(database: Database) -> tuple[Database, Sequence[int]]:
    """Four deliveries of many, in the order of their ids, that the process `me` has a lease on."""
    subscription_id = await add_subscription(database)
    await add_events(database, *((uuid4(), "upload") for _ in range(200)))
    await make_sweeper(database).run_once()
    async with database.transaction() as session:
        await ClaimRepository(session, "me").claim_due({subscription_id: 4}, datetime.now(UTC), LEASE)
        await session.execute(text("ANALYZE deliveries"))
    async with database.read() as session:
        held = select(Delivery.id).where(Delivery.claimed_by == "me").order_by(Delivery.id)
        return database, (await session.scalars(held)).all()


async def test_a_heartbeat_passes_over_what_is_being_settled(claimed: tuple[Database, Sequence[int]]) -> None:
    database, ids = claimed
    async with database.transaction() as settling:
        await SettlementRepository(settling, "me").mark_attempted([settled(ids[2], 1)], NOW)
        async with asyncio.timeout(EXPECTED_WAIT_SECONDS), database.transaction() as session:
            extended = await ClaimRepository(session, "me").extend(ids, LEASE)
    assert sorted(extended) == [(ids[0], 1), (ids[1], 1), (ids[3], 1)]


async def test_a_settlement_locks_in_the_order_of_the_ids(claimed: tuple[Database, Sequence[int]]) -> None:
    database, ids = claimed

    async def settle() -> None:
        async with database.transaction() as session:
            await SettlementRepository(session, "me").mark_attempted([settled(id_, 1) for id_ in reversed(ids)], NOW)

    async with database.transaction() as first:
        await first.execute(select(Delivery.id).where(Delivery.id == ids[0]).with_for_update())
        settling = asyncio.create_task(settle())
        await until(lambda: somebody_waits(database))
        async with database.transaction() as session:
            free = (
                select(Delivery.id)
                .where(Delivery.claimed_by == "me")
                .order_by(Delivery.id)
                .with_for_update(skip_locked=True)
            )
            assert (await session.scalars(free)).all() == ids[1:]
    await settling


async def test_what_is_given_back_at_the_end_waits_for_a_last_heartbeat(
    claimed: tuple[Database, Sequence[int]],
) -> None:
    database, ids = claimed

    async def release() -> None:
        async with database.transaction() as session:
            await ClaimRepository(session, "me").release()

    async with database.transaction() as beating:
        assert len(await ClaimRepository(beating, "me").extend(ids, LEASE)) == len(ids)
        releasing = asyncio.create_task(release())
        await until(lambda: somebody_waits(database))
    await releasing
    async with database.read() as session:
        assert (await session.scalars(select(Delivery.id).where(Delivery.claimed_by.is_not(None)))).all() == []


async def somebody_waits(database: Database) -> bool:
    async with database.read() as session:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(await session.scalar(text(waiting)))
