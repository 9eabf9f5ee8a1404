"""Following the feed of real services: every change once and in order, whatever dies, and where a follower goes on."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text

from app.database.engine import Database
from sync_client import (
    BadRequest,
    Change,
    CursorCalls,
    CursorExpired,
    CursorFile,
    EventType,
    NewEvent,
    RetryPolicy,
    SyncClient,
    SyncError,
)
from sync_client.feed import IDLE_SECONDS
from tests.client.conftest import PATIENT, RelayedService
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

# The client knows nothing of the service's database: what is about the client alone need not run on both.

DEADLINE_SECONDS = 60


def uploads(count: int) -> list[NewEvent]:
    return [NewEvent(uuid4(), "upload") for _ in range(count)]


async def take(sync: SyncClient, count: int, cursor: str | None = None, **options: object) -> list[Change]:
    """The next changes, each of them done with."""
    changes: list[Change] = []
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(sync.follow(cursor, **options)) as feed:  # type: ignore[arg-type]
        async for change in feed:
            changes.append(change)
            if len(changes) == count:
                break
    return changes


async def follow_to(sync: SyncClient, last: UUID) -> list[Change]:
    """Every change up to the first of the file `last`."""
    changes: list[Change] = []
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(sync.follow()) as feed:
        async for change in feed:
            changes.append(change)
            if change.file_id == last:
                break
    return changes


def positions(changes: Sequence[Change]) -> list[int]:
    return [change.position for change in changes]


def cursor_files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "cursor" in path.name]


@on_postgresql
async def test_every_change_comes_once_in_order_while_the_service_is_killed(
    sync: SyncClient, service: RelayedService
) -> None:
    files: list[UUID | str] = []
    last = uuid4()
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            events = uploads(20)
            await sync.create_many(events)
            files.extend(event.file_id for event in events)
        await sync.create(last, "delete")
        files.append(last)

    async def crash() -> None:
        for _ in range(2):
            seen = len(files)
            await until(lambda seen=seen: len(files) >= seen + 200)  # type: ignore[misc]  # mypy knows no bound lambdas
            await service.crash()
        done.set()

    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        group.create_task(write())
        following = group.create_task(follow_to(sync, last))
        await crash()
    assert [change.file_id for change in following.result()] == files
    assert positions(following.result()) == list(range(1, len(files) + 1))


@on_sqlite
async def test_pages_that_are_cut_in_the_middle_leave_nothing_out(
    service: RelayedService, tokens: TokenFactory
) -> None:
    async with SyncClient(service.url, tokens.token(), policy=PATIENT) as writer:
        await writer.create_many(uploads(1200))
    service.relay.cuts.extend([1, 250, 20_000, 100_000, 100, 150_000])
    async with SyncClient(service.url, tokens.token(), policy=PATIENT) as sync:
        assert positions(await take(sync, 1200)) == list(range(1, 1201))
    assert not service.relay.cuts


@on_sqlite
async def test_a_follower_that_was_killed_goes_on_and_repeats_only_what_it_was_at(
    sync: SyncClient, tmp_path: Path
) -> None:
    await sync.create_many(uploads(10))
    store = CursorFile(tmp_path / "cursor")
    assert positions(await take(sync, 4, store=store)) == [1, 2, 3, 4]
    assert positions(await take(sync, 4, store=store)) == [4, 5, 6, 7], (
        "4 was handed out, but nobody came back for more"
    )
    assert positions(await take(sync, 4, store=CursorFile(tmp_path / "cursor"))) == [7, 8, 9, 10]
    assert cursor_files(tmp_path) == ["cursor"], "no draft is left"


@on_sqlite
async def test_a_consumer_that_fails_gets_the_change_again(sync: SyncClient, tmp_path: Path) -> None:
    await sync.create_many(uploads(5))
    store = CursorFile(tmp_path / "cursor")

    async def fail_at_the_third() -> None:
        async with aclosing(sync.follow(store=store)) as feed:
            async for change in feed:
                if change.position == 3:
                    raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_at_the_third()
    assert positions(await take(sync, 3, store=store)) == [3, 4, 5]


@on_sqlite
async def test_what_is_done_is_saved_before_the_follower_waits(sync: SyncClient) -> None:
    await sync.create_many(uploads(3))
    saved: list[str] = []
    following = asyncio.create_task(take(sync, 4, store=CursorCalls(lambda: None, saved.append)))
    await until(lambda: len(saved) == 2)  # of the first change, and of the rest
    assert not following.done()
    await sync.create_many(uploads(2))
    assert positions(await following) == [1, 2, 3, 4]
    assert positions(await take(sync, 2, saved[1])) == [4, 5]


@on_sqlite
async def test_callables_may_be_async(sync: SyncClient) -> None:
    await sync.create_many(uploads(3))
    kept: dict[str, str] = {}

    async def load() -> str | None:
        return kept.get("cursor")

    async def save(cursor: str) -> None:
        kept["cursor"] = cursor

    store = CursorCalls(load, save)
    assert positions(await take(sync, 2, store=store)) == [1, 2]
    assert positions(await take(sync, 2, store=store)) == [2, 3]


@on_sqlite
async def test_every_change_knows_where_to_go_on(sync: SyncClient) -> None:
    await sync.create_many(uploads(6))
    changes = await take(sync, 6)
    for change in changes[:-1]:
        assert positions(await take(sync, 1, change.cursor)) == [change.position + 1]
    following = asyncio.create_task(take(sync, 1, changes[-1].cursor))
    await sync.create(uuid4(), "upload")
    assert positions(await following) == [7]


@on_sqlite
async def test_from_now_on_is_a_place_that_is_remembered_at_once(sync: SyncClient, tmp_path: Path) -> None:
    await sync.create_many(uploads(3))
    store = CursorFile(tmp_path / "cursor")
    following = asyncio.create_task(take(sync, 1, "latest", store=store))
    await until((tmp_path / "cursor").exists)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await sync.create_many(uploads(2))
    assert positions(await take(sync, 2, "latest", store=store)) == [4, 5]


@pytest.mark.parametrize("types", [["delete"], ["upload", "delete"]])
async def test_filters_narrow_the_feed(sync: SyncClient, types: list[EventType]) -> None:
    kinds: list[EventType] = ["upload", "update", "delete", "update"]
    events = [NewEvent(uuid4(), kinds[number % 4]) for number in range(40)]
    await sync.create_many(events)
    wanted = [number for number, event in enumerate(events, 1) if event.event_type in types]
    assert positions(await take(sync, len(wanted), event_types=types)) == wanted
    assert positions(await take(sync, 1, file_id=events[20].file_id)) == [21]


@on_sqlite
async def test_a_cursor_of_other_filters_is_refused(sync: SyncClient) -> None:
    await sync.create_many(uploads(1))
    [change] = await take(sync, 1)
    with pytest.raises(BadRequest, match="another `event_type`"):
        await take(sync, 1, change.cursor, event_types=["upload"])
    for damaged in (change.cursor.swapcase(), "x", "latest2"):
        with pytest.raises(BadRequest, match="Invalid or damaged cursor"):
            await take(sync, 1, damaged)
    for nonsense in ("", "a b", "ä", "x\n"):
        with pytest.raises(ValueError, match="not a cursor"):
            await take(sync, 1, nonsense)


async def test_an_expired_cursor_tells_the_oldest(sync: SyncClient, database: Database) -> None:
    await sync.create_many(uploads(6))
    positioned = await take(sync, 6)
    async with database.transaction() as session:
        await session.execute(text("DELETE FROM sync_events WHERE position <= 3"))
    with pytest.raises(CursorExpired) as expired:
        await take(sync, 1, positioned[0].cursor)
    assert expired.value.oldest_position == 4
    assert positions(await take(sync, 3, expired.value.oldest_cursor)) == [4, 5, 6]


@on_sqlite
async def test_a_token_that_expires_on_the_way_is_replaced(service: RelayedService, tokens: TokenFactory) -> None:
    await service.start(AUTH_LEEWAY_SECONDS="0")
    given: list[str] = []

    def token() -> str:
        given.append(tokens.token(exp=time.time() + 2))
        return given[-1]

    async with SyncClient(service.url, token) as sync:
        following = asyncio.create_task(follow_to(sync, last := uuid4()))
        written = 1
        while len(given) < 2:
            await sync.create(uuid4(), "upload")
            written += 1
            await asyncio.sleep(0.2)
        await sync.create(last, "upload")
        assert positions(await following) == list(range(1, written + 1))


@on_sqlite
async def test_a_follower_waits_for_a_service_that_is_away(
    service: RelayedService, tokens: TokenFactory, tmp_path: Path
) -> None:
    outages: list[SyncError] = []
    policy = RetryPolicy(attempts=2, base_seconds=0.01, cap_seconds=0.05)
    async with SyncClient(
        service.url, tokens.token(), policy=policy, on_retry=lambda error, _seconds: outages.append(error)
    ) as sync:
        await sync.create(uuid4(), "upload")
        await asyncio.to_thread(service.process.kill)
        following = asyncio.create_task(take(sync, 1))
        await until(lambda: len(outages) > 5)
        await service.start()
        assert positions(await following) == [1]


@on_sqlite
async def test_any_number_of_followers_share_a_client(sync: SyncClient) -> None:
    following = [asyncio.create_task(take(sync, 50)) for _ in range(10)]
    await sync.create_many(uploads(50))
    for changes in await asyncio.gather(*following):
        assert positions(changes) == list(range(1, 51))


@pytest.mark.slow
async def test_the_service_is_not_asked_all_the_time_while_nothing_happens() -> None:
    """A service that answers at once, with nothing, as one that is ending does."""
    asked: list[float] = []

    def answer(_request: httpx.Request) -> httpx.Response:
        asked.append(time.monotonic())
        page = {"changes": [], "cursor": "c", "has_more": False, "head_position": 0}
        return httpx.Response(200, json=page | {"from_position": 1, "to_position": 0})

    async with SyncClient("http://sync-service", "token", transport=httpx.MockTransport(answer)) as sync:
        following = asyncio.create_task(take(sync, 1))
        await until(lambda: len(asked) >= 4)
        following.cancel()
        await asyncio.wait({following})
    _for_a_cursor, *for_changes = asked
    assert min(later - earlier for earlier, later in pairwise(for_changes)) >= IDLE_SECONDS * 0.9
