"""Replicas of the release before this one serve beside new ones: their statements, on the schema of this release.

`earlier_release/` keeps those of them that name event types and anomalies. The events are at positions 1 to 8.
"""

from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text

from app.database.engine import Database
from app.deliveries.repository import DeliveryRepository
from app.files.repository import FileRepository
from tests.deliveries.support import get_subscription, list_deliveries, pending_positions
from tests.events.support import add_events, read_ledger

STATEMENTS = Path(__file__).parent / "earlier_release"
SUBSCRIPTION = UUID("01937000-0000-7000-8000-000000000001")
NEVER_UPLOADED, DELETED = uuid4(), uuid4()
EVENTS = [
    (NEVER_UPLOADED, "update"),
    (NEVER_UPLOADED, "delete"),
    (NEVER_UPLOADED, "delete"),
    (DELETED, "upload"),
    (DELETED, "update"),
    (DELETED, "delete"),
    (DELETED, "update"),
    (DELETED, "upload"),
]
POSITIONS = range(1, len(EVENTS) + 1)
WANTED = {types: [n for n, (_, one) in enumerate(EVENTS, 1) if one in types] for types in ("upload delete", "update")}


class EarlierRelease:
    """Runs the statements of the release before on a database, by their titles."""

    def __init__(self, database: Database) -> None:
        self._database = database
        blocks = (STATEMENTS / f"{database.engine.dialect.name}.sql").read_text().split("-- ")[1:]
        self._statements = dict(block.split("\n", 1) for block in blocks)

    async def run(self, *titles: str) -> None:
        """Run these, one after the other, in one transaction."""
        async with self._database.transaction() as session:
            connection = await session.connection()
            for title in titles:
                await connection.exec_driver_sql(self._statements[title].rstrip().removesuffix(";"))

    async def settle(self) -> None:
        """The events are processed and their deliveries are delivered."""
        async with self._database.transaction() as session:
            await session.execute(text("UPDATE sync_events SET processed = true"))
            await session.execute(
                text("UPDATE deliveries SET status = 'delivered', due_at = NULL, settled_at = created_at")
            )


@pytest.fixture
async def earlier(database: Database) -> EarlierRelease:
    """The release before, whose replica has just made a subscription to uploads and deletes."""
    earlier = EarlierRelease(database)
    await earlier.run("add a subscription to uploads and deletes")
    return earlier


async def test_new_code_reads_the_types_that_the_earlier_release_writes(
    earlier: EarlierRelease, database: Database
) -> None:
    assert (await get_subscription(database, SUBSCRIPTION)).event_type_list == ["upload", "delete"]
    await add_events(database, *EVENTS)
    async with database.transaction() as session:
        await DeliveryRepository(session).add_swept(POSITIONS)
    assert await pending_positions(database, SUBSCRIPTION) == WANTED["upload delete"]
    await earlier.settle()
    await earlier.run("change its types to updates")
    assert (await get_subscription(database, SUBSCRIPTION)).event_type_list == ["update"]
    async with database.transaction() as session:
        await DeliveryRepository(session).add_missed(SUBSCRIPTION, after=0, through=len(EVENTS))
        await DeliveryRepository(session).mark_range_pending(SUBSCRIPTION, after=0, through=len(EVENTS))
    assert await pending_positions(database, SUBSCRIPTION) == WANTED["update"]


async def test_the_earlier_release_reads_the_types_that_new_code_writes(
    earlier: EarlierRelease, database: Database, client: httpx.AsyncClient
) -> None:
    path = f"/subscriptions/{SUBSCRIPTION}"
    changed = await client.patch(path, json={"event_types": ["update"]})
    assert changed.json()["event_types"] == ["update"], changed.text
    await add_events(database, *EVENTS)
    await earlier.run("read it", "add the deliveries of events 1 to 8")
    assert await pending_positions(database, SUBSCRIPTION) == WANTED["update"]
    await client.patch(path, json={"event_types": ["delete", "upload"]})
    await earlier.run("add the deliveries of events 1 to 8")
    await earlier.settle()
    await earlier.run("deliver events 1 to 8 again")
    assert await pending_positions(database, SUBSCRIPTION) == WANTED["upload delete"]
    assert len(await list_deliveries(database, SUBSCRIPTION)) == len(EVENTS)


async def test_both_releases_find_the_same_anomalies(earlier: EarlierRelease, database: Database) -> None:
    await add_events(database, *EVENTS)
    found = []
    for new in (False, True):
        async with database.transaction() as session:
            await session.execute(text("UPDATE sync_events SET anomaly = NULL"))
            if new:
                await FileRepository(session).mark_anomalies(POSITIONS)
        if not new:
            await earlier.run("flag the anomalies of events 1 to 8")
        found.append([event.anomaly for event in await read_ledger(database)])
    assert found[0] == found[1]
    assert found[1] == [
        "update_of_unknown_file",
        "delete_of_unknown_file",
        "delete_of_deleted_file",
        None,
        None,
        None,
        "update_of_deleted_file",
        None,
    ]
