"""Records and ledgers for tests of the event domain."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy import select, update
from uuid_utils.compat import uuid7

from app.database.engine import Database
from app.events.group import EventRecord
from app.events.ledger import Ledger
from app.events.models import LedgerHead, SyncEvent

NOW = datetime.now(UTC).replace(microsecond=0)


def record(**changes: Any) -> EventRecord:
    """An event of a new file, with `changes`."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "file_id": uuid4(),
        "event_type": "upload",
        "metadata": None,
        "created_by": "tester",
        "idempotency_key": None,
    }
    return EventRecord(**{**values, **changes})


def open_ledger(database: Database, **changes: Any) -> Ledger:
    """A ledger with the default limits."""
    limits: dict[str, Any] = {"group_size": 500, "queue_size": 10_000, "append_timeout_seconds": 10}
    return Ledger(database, **{**limits, **changes})


async def add_events(database: Database, *events: tuple[UUID, str]) -> list[UUID]:
    """Record `(file_id, event_type)` in this order and return the ids of the events."""
    records = [record(file_id=file_id, event_type=event_type) for file_id, event_type in events]
    await open_ledger(database).append(records)
    return [one.id for one in records]


async def write_events(
    database: Database, times: Sequence[datetime], *, each: Sequence[dict[str, Any]] = (), **values: Any
) -> None:
    """Events as the ledger has them, recorded at these rising times, with values of all and of each."""
    rows: list[dict[str, Any]] = [
        {"id": uuid7(), "position": number, "file_id": uuid4(), "event_type": "upload", "created_by": "tester"}
        | {"created_at": at}
        | values
        | own
        for number, (at, own) in enumerate(zip(times, each or [{}] * len(times), strict=True), 1)
    ]
    async with database.transaction() as session:
        session.add_all(SyncEvent(**row) for row in rows)
        await session.execute(update(LedgerHead).values(position=len(rows), created_at=times[-1]))


async def read_ledger(database: Database) -> Sequence[SyncEvent]:
    """Every event, by position."""
    async with database.read() as session:
        return (await session.scalars(select(SyncEvent).order_by(SyncEvent.position))).all()


async def read_head(database: Database) -> int:
    """The last position given out."""
    async with database.read() as session:
        return (await session.execute(select(LedgerHead.position))).scalar_one()


def new_event(**changes: object) -> dict[str, object]:
    return {"file_id": str(uuid4()), "event_type": "upload", **changes}


async def post(client: httpx.AsyncClient, event: dict[str, object], key: str | None = None) -> httpx.Response:
    return await client.post("/sync-events", json=event, headers={"Idempotency-Key": key} if key else {})
