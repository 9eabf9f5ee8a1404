"""A service that lost events which the follower had read: the follower ends with `EventsLost` and skips nothing."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from app.database.engine import Database
from sync_client import CursorExpired, CursorFile, EventsLost, EventType, SyncClient
from tests.changes.support import replace_end
from tests.client.test_answers import EVENT, client
from tests.client.test_follow import positions, take, uploads
from tests.support.marks import on_sqlite


@on_sqlite
async def test_a_follower_that_slept_hears_of_it(sync: SyncClient, database: Database, tmp_path: Path) -> None:
    await sync.create_many(uploads(10))
    changes = await take(sync, 10)
    await replace_end(database, keep=3, new=9)
    for change in (changes[3], changes[9]):  # in the middle of a page, and at its end
        (tmp_path / "cursor").write_text(f"{change.cursor}\n")
        with pytest.raises(EventsLost):
            await take(sync, 1, store=CursorFile(tmp_path / "cursor"))
        with pytest.raises(CursorExpired) as lost:
            await take(sync, 1, change.cursor)
        assert positions(await take(sync, 12, lost.value.oldest_cursor)) == list(range(1, 13))


@on_sqlite
async def test_an_event_before_the_loss_goes_on(sync: SyncClient, database: Database) -> None:
    filters: list[list[EventType]] = [[], ["upload"], ["upload", "delete"]]
    await sync.create_many(uploads(10))
    followed = [(event_types, await take(sync, 10, event_types=event_types)) for event_types in filters]
    await replace_end(database, keep=5, new=7)
    for event_types, changes in followed:
        assert positions(await take(sync, 7, changes[4].cursor, event_types=event_types)) == list(range(6, 13))
        with pytest.raises(EventsLost):
            await take(sync, 1, changes[5].cursor, event_types=event_types)


@on_sqlite
async def test_a_follower_that_waits_hears_of_it(sync: SyncClient, database: Database) -> None:
    await sync.create_many(uploads(10))
    seen: list[int] = []

    async def follow() -> None:
        async with asyncio.timeout(30), aclosing(sync.follow()) as feed:
            async for change in feed:
                seen.append(change.position)
                if change.position == 10:
                    read.set()

    read = asyncio.Event()
    following = asyncio.create_task(follow())
    await read.wait()
    await replace_end(database, keep=7, new=5)
    with pytest.raises(EventsLost, match="another event at the position"):
        await following
    assert seen == list(range(1, 11))


@pytest.mark.parametrize("filtered", [False, True])
async def test_a_page_that_comes_again_shorter_keeps_what_is_known(filtered: bool) -> None:
    """The bookmark's event is checked on the page that reaches it, however many pages come before."""
    ids = {position: uuid4() for position in range(1, 9)}

    def respond(request: httpx.Request) -> httpx.Response:
        first = {"c0": 1, "c3": 4, "c8": 9}[request.url.params["cursor"]]
        last = {1: 3, 4: 8, 9: 8}[first]
        changes = [
            EVENT | {"position": position, "event_id": str(ids[position])} for position in range(first, last + 1)
        ]
        page = {"changes": changes, "cursor": f"c{last}", "has_more": last < 8, "head_position": 8}
        return httpx.Response(200, json=page | {"from_position": first, "to_position": last})

    types: list[EventType] = ["upload"] if filtered else []
    async with client(respond) as sync:
        known = ids[6].hex[-12:]
        assert positions(await take(sync, 2, f"c0~6~{known}", event_types=types)) == [7, 8]
        for start in ("c0~6~000000000000", f"c0~5~{known}"):
            with pytest.raises(EventsLost, match=r"position \d of the feed holds another event than before"):
                await take(sync, 1, start, event_types=types)
        assert positions(await take(sync, 2, "c0~6", event_types=types)) == [7, 8], "as earlier clients wrote it"


async def test_a_lost_event_of_a_filter_leaves_its_position_empty() -> None:
    def respond(_request: httpx.Request) -> httpx.Response:
        page = {"changes": [EVENT | {"position": 3}], "cursor": "c4", "has_more": False, "head_position": 4}
        return httpx.Response(200, json=page | {"from_position": 1, "to_position": 4})

    async with client(respond) as sync:
        with pytest.raises(EventsLost):
            await take(sync, 1, f"c0~2~{UUID(int=5).hex[-12:]}", event_types=["upload"])
