"""Every combination of filters lists what a plain loop over the ledger finds, page by page, on both databases."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import product
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import update

from app.database.engine import Database
from app.events import listing
from app.events.listing import EventList
from app.events.models import SyncEvent
from app.events.schemas import EventFilter
from app.files.repository import FileStateHandler
from app.sweep.sweeper import Sweeper
from tests.events.support import open_ledger, read_ledger, record

FILES = (uuid4(), uuid4())
SWEPT = 150
PASSED = {"failed": (20, 60), "waiting": (60, 70), "retrying": (100, 105)}


@pytest_asyncio.fixture(loop_scope="session")
async def events(database: Database) -> Sequence[SyncEvent]:
    """A ledger of 180 events with some in every state, and anomalies."""
    types = ("upload", "update", "delete", "delete", "update")
    records = [record(file_id=FILES[n % 3 // 2], event_type=types[n % 7 % 5]) for n in range(SWEPT)]
    await open_ledger(database).append(records)
    sweeper = Sweeper(database, [FileStateHandler()], batch_size=1000, max_attempts=1, retry_interval=timedelta(1))
    await sweeper.sweep_batch()
    await open_ledger(database).append([record(file_id=FILES[n % 2], event_type=types[n % 5]) for n in range(30)])
    async with database.transaction() as session:
        for state, (first, last) in PASSED.items():
            passed = update(SyncEvent).where(SyncEvent.position.between(first, last - 1))
            await session.execute(passed.values(processed=False, processed_at=None, anomaly=None, retry_state=state))
    return (await read_ledger(database))[::-1]


def _combinations(events: Sequence[SyncEvent]) -> Iterator[tuple[EventFilter, Callable[[SyncEvent], bool]]]:
    """Each combination of filters, and whether an event meets it."""
    states = (None, "pending", "processed", "failed", "waiting", "retrying")
    [early] = [event.created_at for event in events if event.position == SWEPT]
    for event_type, processed, file_id, anomaly, state, after in product(
        (None, "delete"), (None, True, False), (None, FILES[0]), (None, True, False), states, (None, early)
    ):
        wanted = EventFilter(
            event_type=event_type,
            processed=processed,
            file_id=file_id,
            anomaly=anomaly,
            state=state,
            created_after=after,
        )

        def meets(event: SyncEvent, wanted: EventFilter = wanted) -> bool:
            found = "processed" if event.processed else event.retry_state or "pending"
            return (
                wanted.event_type in (None, event.event_type)
                and wanted.processed in (None, event.processed)
                and wanted.file_id in (None, event.file_id)
                and wanted.anomaly in (None, event.anomaly is not None)
                and wanted.state in (None, found)
                and (wanted.created_after is None or event.created_at > wanted.created_after)
            )

        yield wanted, meets


async def _follow(database: Database, wanted: EventFilter, limit: int, offset: int = 0) -> list[list[int]]:
    """The positions on every page."""
    pages: list[list[int]] = []
    before = None
    async with database.read() as session:
        while True:
            page = await EventList(session).newest(wanted, limit=limit, offset=offset, before=before)
            pages.append([_position(event) for event in page.events])
            if page.following is None:
                return pages
            before, offset = page.following


def _position(event: str) -> int:
    return int(event.replace(" ", "").split('"position":')[1].split(",")[0])


@pytest.mark.parametrize("visited", [100_000, 25])
async def test_all_filters_together(
    database: Database, events: Sequence[SyncEvent], visited: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "VISITED_EVENTS", visited)
    for number, (wanted, meets) in enumerate(_combinations(events)):
        if number % 5 == 0:
            offset = number % 4
            expected = [event.position for event in events if meets(event)][offset:]
            pages = await _follow(database, wanted, 40, offset)
            assert [position for page in pages for position in page] == expected, wanted
            if visited > 25:
                assert [len(page) for page in pages[:-1]] == [40] * (len(pages) - 1), wanted
