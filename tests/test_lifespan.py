"""Start-up and shutdown of real processes, on both databases."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select

from app.database.engine import Database
from app.database.opening import DatabaseShared, sole_process
from app.events.models import SyncEvent
from app.files.models import FileState
from tests.conftest import MakeSettings
from tests.events.support import add_events, read_ledger
from tests.support.load import Load, run_load
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

Start = Callable[..., ServiceProcess]
GRACE_SECONDS = 60


async def expect_clean_end(service: ServiceProcess) -> None:
    """The process ends by itself within the grace period, after an orderly shutdown."""
    assert await asyncio.to_thread(service.wait, GRACE_SECONDS) == 0
    assert "Application shutdown complete" in service.output()
    assert "cancelled" not in service.output()


async def test_the_sweep_runs_by_itself(start_service: Start, tokens: TokenFactory) -> None:
    service = start_service(SYNC_EVENT_PROCESS_INTERVAL="0.1")
    async with httpx.AsyncClient(base_url=service.url, headers={"Authorization": f"Bearer {tokens.token()}"}) as client:
        created = await client.post("/sync-events", json={"file_id": str(uuid4()), "event_type": "upload"})

        async def is_processed() -> bool:
            return bool((await client.get(created.headers["Location"])).json()["processed"])

        await until(is_processed)


@pytest.mark.load
async def test_sigterm_under_load_answers_everybody_and_exits_in_time(
    start_service: Start, database: Database, tokens: TokenFactory
) -> None:
    service, load, stop = start_service(LOG_LEVEL="INFO"), Load(), asyncio.Event()
    task = asyncio.create_task(run_load(load, service.url, tokens.token(), clients=16, until=stop))
    await until(lambda: len(load.answered) >= 100)
    service.send(signal.SIGTERM)
    await expect_clean_end(service)
    stop.set()
    await task
    events = await read_ledger(database)
    assert set(load.answered) == {event.id for event in events}, "an event was written whose request was not answered"
    assert [event.position for event in events] == list(range(1, len(events) + 1))


async def test_a_client_that_sends_its_body_slowly_does_not_hold_up_the_end(
    start_service: Start, tokens: TokenFactory
) -> None:
    service = start_service(BODY_TIMEOUT="1", LOG_LEVEL="INFO")
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    head = f"POST /sync-events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tokens.token()}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
    await writer.drain()
    await asyncio.to_thread(httpx.get, service.url)  # the request before has arrived
    service.send(signal.SIGTERM)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    await expect_clean_end(service)
    writer.close()
    await writer.wait_closed()


async def test_sigterm_stops_the_sweep_between_two_batches(start_service: Start, database: Database) -> None:
    await add_events(database, *((uuid4(), "upload") for _ in range(3000)))
    service = start_service(SYNC_EVENT_BATCH_SIZE="1", LOG_LEVEL="INFO")
    service.send(signal.SIGTERM)
    await expect_clean_end(service)
    processed = [event.processed for event in await read_ledger(database)]
    assert processed == sorted(processed, reverse=True), "the sweep skipped an event"
    assert not processed[-1], "the backlog was too small to be interrupted"


@on_postgresql
async def test_several_processes_sweep_each_event_once(
    start_replicas: Callable[..., list[ServiceProcess]], database: Database
) -> None:
    file_ids = [uuid4() for _ in range(20)]
    await add_events(database, *((file_id, "upload") for file_id in file_ids for _ in range(10)))
    start_replicas(2, SYNC_EVENT_BATCH_SIZE="7", SYNC_EVENT_PROCESS_INTERVAL="0.02")

    async def is_swept() -> bool:
        async with database.read() as session:
            return await session.scalar(select(SyncEvent.id).where(~SyncEvent.processed).limit(1)) is None

    await until(is_swept)
    async with database.read() as session:
        assert (await session.scalars(select(FileState.revision).distinct())).all() == [10]


@on_sqlite
def test_a_second_process_on_sqlite_is_refused_in_production(start_service: Start) -> None:
    first = start_service(ENVIRONMENT="production")
    with pytest.raises(RuntimeError, match="another process has it"):
        start_service(ENVIRONMENT="production")
    first.kill()
    start_service(ENVIRONMENT="production")


@on_sqlite
def test_a_symbolic_link_does_not_lead_a_second_process_to_the_file(
    make_settings: MakeSettings, sqlite_url: str, tmp_path: Path
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(sqlite_url.removeprefix("sqlite:///"))
    with sole_process(make_settings(environment="production")), pytest.raises(DatabaseShared):  # noqa: SIM117
        with sole_process(make_settings(environment="production", database_url=f"sqlite:///{link}")):
            pass
