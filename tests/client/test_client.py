"""Recording and reading with the client, against real services that are killed, cut off and busy."""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from sync_client import (
    Forbidden,
    Invalid,
    NewEvent,
    NotFound,
    Refused,
    RetryPolicy,
    SyncClient,
    SyncError,
    Unauthorized,
    Unavailable,
)
from sync_client.batch import split_batches
from tests.client.conftest import PATIENT, RelayedService
from tests.conftest import ROOT
from tests.support.marks import on_sqlite
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

# The client knows nothing of the service's database: what is about the client alone need not run on both.


async def all_files(sync: SyncClient) -> list[UUID]:
    """The files of all events, oldest event first."""
    return [event.file_id async for event in sync.list()][::-1]


async def test_an_event_is_recorded_and_read(sync: SyncClient) -> None:
    file_id = uuid4()
    created = await sync.create(file_id, "upload", {"path": "ä.txt", "size": 3})
    event = await sync.get(created.event_id)
    assert (event.position, event.file_id, event.event_type) == (1, file_id, "upload")
    assert (event.metadata, event.created_by) == ({"path": "ä.txt", "size": 3}, "chunker@clients")
    assert not created.replayed


async def test_a_repeated_call_with_the_same_key_makes_one_event(sync: SyncClient) -> None:
    file_id = uuid4()
    first = await sync.create(file_id, "upload", idempotency_key="mine")
    again = await sync.create(file_id, "upload", idempotency_key="mine")
    assert (again.event_id, again.replayed) == (first.event_id, True)
    with pytest.raises(Invalid, match="idempotency key"):
        await sync.create(uuid4(), "upload", idempotency_key="mine")


@on_sqlite
async def test_calls_without_a_key_are_events_of_their_own(sync: SyncClient) -> None:
    file_id = uuid4()
    created = [await sync.create(file_id, "update") for _ in range(2)]
    assert created[0].event_id != created[1].event_id


async def test_the_list_goes_over_all_pages_and_filters(sync: SyncClient) -> None:
    events = [NewEvent(uuid4(), "delete" if number % 3 else "upload") for number in range(250)]
    ids = await sync.create_many(events)
    assert [event.event_id async for event in sync.list()] == list(ids)[::-1]
    uploads = [event.file_id async for event in sync.list(event_type="upload")]
    assert uploads == [event.file_id for event in events if event.event_type == "upload"][::-1]
    assert [event.event_id async for event in sync.list(file_id=events[7].file_id)] == [ids[7]]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert [event async for event in sync.list(created_after=tomorrow)] == []
    await until(lambda: _is_processed(sync, ids[-1]))
    assert [event async for event in sync.list(processed=False)] == []
    assert len([event async for event in sync.list(anomaly=True, state="processed", created_before=tomorrow)]) == 166


async def _is_processed(sync: SyncClient, event_id: UUID) -> bool:
    return (await sync.get(event_id)).processed


@on_sqlite
async def test_a_list_gives_an_event_once_while_others_are_recorded(sync: SyncClient) -> None:
    before = await sync.create_many([NewEvent(uuid4(), "upload") for _ in range(150)])
    seen = []
    async for event in sync.list():
        seen.append(event.event_id)
        if len(seen) == 50:
            await sync.create_many([NewEvent(uuid4(), "upload") for _ in range(20)])
    assert seen == list(before)[::-1]


@on_sqlite
async def test_many_events_are_recorded_once_in_order_while_the_service_is_killed(
    sync: SyncClient, service: RelayedService
) -> None:
    events = [NewEvent(uuid4(), "upload") for _ in range(2500)]
    crashes: list[asyncio.Task[None]] = []

    def killing_on_the_way() -> Iterator[NewEvent]:
        for number, event in enumerate(events, 1):
            if number in {900, 1700}:
                # The batch that holds this event is sent within the next milliseconds.
                asyncio.get_running_loop().call_later(
                    0.03, lambda: crashes.append(asyncio.create_task(service.crash()))
                )
            yield event

    ids = await sync.create_many(killing_on_the_way())
    await asyncio.gather(*crashes)
    assert len(crashes) == 2
    assert await all_files(sync) == [event.file_id for event in events]
    assert len(set(ids)) == len(events)
    assert list(await sync.create_many(events)) == list(ids)


@on_sqlite
async def test_answers_that_are_cut_in_the_middle_are_asked_for_again(
    service: RelayedService, tokens: TokenFactory
) -> None:
    events = [NewEvent(uuid4(), "upload") for _ in range(300)]
    service.relay.cuts.extend([0, 1, 100, 300, 5000, 9000])
    async with SyncClient(service.url, tokens.token(), policy=PATIENT) as sync:
        ids = await sync.create_many(events)
    assert len(set(ids)) == 300
    assert not service.relay.cuts
    service.relay.cuts.extend([20_000, 10, 40_000, 200, 50_000])
    async with SyncClient(service.url, tokens.token(), policy=PATIENT) as sync:
        assert await all_files(sync) == [event.file_id for event in events]
    assert not service.relay.cuts


@on_sqlite
async def test_a_client_that_is_too_fast_waits_as_it_is_told(service: RelayedService, tokens: TokenFactory) -> None:
    await service.start(RATE_LIMIT_PER_SECOND="2", RATE_LIMIT_BURST="1")
    waits: list[tuple[SyncError, float]] = []
    policy = RetryPolicy(base_seconds=0.001, cap_seconds=0.001)
    async with SyncClient(
        service.url, tokens.token(), policy=policy, on_retry=lambda error, seconds: waits.append((error, seconds))
    ) as sync:
        started = time.monotonic()
        for _ in range(3):
            await sync.create(uuid4(), "upload")
    assert time.monotonic() - started >= 0.9
    assert waits
    for error, seconds in waits:
        assert "429" in str(error)
        assert seconds >= 1, "Retry-After, not the backoff"


@on_sqlite
async def test_a_busy_service_gets_everything_in_the_end(service: RelayedService, tokens: TokenFactory) -> None:
    await service.start(MAX_CONCURRENT_REQUESTS="1")
    refused: list[str] = []
    async with SyncClient(
        service.url, tokens.token(), policy=PATIENT, on_retry=lambda error, _seconds: refused.append(str(error))
    ) as sync:
        files = [uuid4() for _ in range(12)]
        await asyncio.gather(*(sync.create(file_id, "upload") for file_id in files))
        assert sorted(await all_files(sync)) == sorted(files)
    assert any("503" in message for message in refused)


@on_sqlite
async def test_an_expired_token_is_replaced_once_for_all(service: RelayedService, tokens: TokenFactory) -> None:
    given: list[str] = []

    async def token() -> str:
        given.append(tokens.token() if given else tokens.token(now=time.time() - 7200))
        return given[-1]

    async with SyncClient(service.url, token) as sync:
        await asyncio.gather(*(sync.create(uuid4(), "upload") for _ in range(20)))
        assert len(await all_files(sync)) == 20
    assert len(given) == 2


@on_sqlite
@pytest.mark.parametrize("callable_token", [True, False])
async def test_a_token_that_stays_expired_is_an_error(
    service: RelayedService, tokens: TokenFactory, callable_token: bool
) -> None:
    expired = tokens.token(now=time.time() - 7200)
    async with SyncClient(service.url, (lambda: expired) if callable_token else expired) as sync:
        with pytest.raises(Unauthorized, match=r"401 Unauthorized The token has expired \(exp\)\.") as refused:
            await sync.create(uuid4(), "upload")
    assert refused.value.problem.type == "urn:sync-service:problem:unauthenticated"
    assert expired not in str(refused.value)


@on_sqlite
async def test_errors_say_what_is_wrong(sync: SyncClient, service: RelayedService, tokens: TokenFactory) -> None:
    with pytest.raises(NotFound, match="404 Not Found There is no event with this id"):
        await sync.get(uuid4())
    with pytest.raises(Invalid, match=r"body\.file_id: .* 8-4-4-4-12") as invalid:
        await sync.create("no-uuid", "upload")
    assert invalid.value.problem.errors[0].loc == ("body", "file_id")
    with pytest.raises(ValueError, match="hexadecimal"):
        await sync.get("../health")
    await service.start(AUTH_ENFORCE_SCOPES="true")
    async with SyncClient(service.url, tokens.token(scope="read:sync")) as reader:
        with pytest.raises(Forbidden, match="write:sync"):
            await reader.create(uuid4(), "upload")


@on_sqlite
async def test_a_service_that_stays_away_is_an_error_that_names_it(service: RelayedService) -> None:
    await asyncio.to_thread(service.process.kill)
    policy = RetryPolicy(attempts=3, base_seconds=0.01)
    async with SyncClient(service.process.url, "token", policy=policy) as sync:
        with pytest.raises(Unavailable, match=f"{service.process.url}/? does not respond"):
            await sync.create(uuid4(), "upload")


def test_the_folder_of_the_client_works_without_the_service(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "sync_client", tmp_path / "sync_client")
    code = "import sys, sync_client; sys.exit('app' in sys.modules or sync_client.SyncClient is None)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@on_sqlite
async def test_many_large_events_are_split_by_their_bytes_and_halved_where_less_is_accepted(
    service: RelayedService, tokens: TokenFactory
) -> None:
    events = [NewEvent(uuid4(), "upload", {"text": "ü" * 8000}) for _ in range(300)]
    assert len(list(split_batches(events))) == 2
    await service.start(MAX_BATCH_BYTES="1048576")
    async with SyncClient(service.url, tokens.token(), policy=PATIENT) as sync:
        ids = await sync.create_many(events)
        assert len(set(ids)) == 300
        assert await all_files(sync) == [event.file_id for event in events]
        with pytest.raises(Refused) as refused:
            await sync.create_many([NewEvent(uuid4(), "upload", {"text": "x" * 2_000_000})])
    assert refused.value.status == 413
