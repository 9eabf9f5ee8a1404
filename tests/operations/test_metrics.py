"""`GET /metrics` tells what happened, by bounded labels, from one worker or from several."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.main import create_app
from app.metrics import Metrics
from app.sweep.sweeper import Sweeper
from tests.conftest import MakeSettings
from tests.events.support import add_events
from tests.support.application import serve_in_process
from tests.support.keyserver import KeyServer
from tests.support.marks import on_sqlite
from tests.support.ports import ReservedPort
from tests.support.postgres import PostgresServer
from tests.support.process import ServiceProcess
from tests.support.tokens import SigningKey, TokenFactory
from tests.support.waiting import get_once_connected, until

Values = Callable[..., float]
FILE = "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11"


def read(exposition: str) -> Values:
    """A look-up of a sample by its name and labels; 0 where there is none, as Prometheus' rate() takes it."""
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }
    return lambda name, **labels: samples.get((f"sync_{name}", frozenset(labels.items())), 0)


async def scrape(client: httpx.AsyncClient) -> Values:
    answer = await client.get("/metrics", headers={"Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"})
    assert answer.status_code == 200
    return read(answer.text)


@pytest.fixture
async def sweeping(make_settings: MakeSettings, tokens: TokenFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that sweeps often."""
    async with serve_in_process(create_app(make_settings(sync_event_process_interval=0.05))) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token()}"
        yield client


async def test_what_the_original_lists_is_measured(client: httpx.AsyncClient, database: Database) -> None:
    await add_events(database, *((uuid4(), "upload") for _ in range(3)))
    await client.get(f"/files/{FILE}")
    value = read((await get_once_connected(client, "/metrics")).text)
    assert value("database_up") == 1
    assert value("events_unprocessed") == 3
    assert value("events_oldest_unprocessed_age_seconds") > 0
    assert value("ledger_position") == 3
    route = {"method": "GET", "route": "/files/{file_id}"}
    assert value("http_requests_total", **route, status="404") == 1
    assert value("http_request_duration_seconds_count", **route) == 1
    assert 0 < value("http_request_duration_seconds_sum", **route) < 10


@on_sqlite
async def test_appends_are_counted_by_type_and_commit(client: httpx.AsyncClient) -> None:
    event = {"file_id": FILE, "event_type": "upload"}
    batch = {"events": [event, event | {"event_type": "update"}, event | {"event_type": "update"}]}
    assert (await client.post("/sync-events", json=event, headers={"Idempotency-Key": "a"})).status_code == 201
    assert (await client.post("/sync-events", json=event, headers={"Idempotency-Key": "a"})).status_code == 201
    assert (await client.post("/sync-events/batch", json=batch)).status_code == 201
    assert (await client.post("/sync-events", json=event | {"event_type": "move"})).status_code == 422
    value = await scrape(client)
    assert value("ledger_events_appended_total", event_type="upload") == 2, "a replay appends nothing"
    assert value("ledger_events_appended_total", event_type="update") == 2
    assert value("ledger_events_appended_total", event_type="delete") == 0
    assert (value("ledger_commit_events_count"), value("ledger_commit_events_sum")) == (2, 4)
    assert value("ledger_commit_duration_seconds_count") == 2
    assert value("ledger_commit_failures_total") == 0
    assert value("ledger_queue_events") == 0


@on_sqlite
async def test_the_sweep_is_measured(sweeping: httpx.AsyncClient) -> None:
    started = datetime.now(UTC).timestamp()
    await sweeping.post("/sync-events", json={"file_id": FILE, "event_type": "upload"})

    async def is_swept() -> bool:
        return (await scrape(sweeping))("sweep_batch_events_sum") == 1

    await until(is_swept)
    value = read((await get_once_connected(sweeping, "/metrics")).text)
    assert value("sweep_batch_duration_seconds_count") == 1, "passes without work are no batches"
    assert started <= value("sweep_last_success_timestamp_seconds") <= datetime.now(UTC).timestamp()
    assert (value("events_unprocessed"), value("events_oldest_unprocessed_age_seconds")) == (0, 0)


class _Refusing:
    """A handler that takes nothing."""

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        raise ValueError(len(positions))


@on_sqlite
async def test_failures_of_the_sweep_are_counted(database: Database) -> None:
    metrics = Metrics()
    await add_events(database, (uuid4(), "upload"))
    sweeper = Sweeper(
        database,
        [_Refusing()],
        batch_size=10,
        max_attempts=2,
        retry_interval=timedelta(0),
        metrics=metrics.sweep,
    )
    for _ in range(2):
        await sweeper.run_once()
    value = metrics.registry.get_sample_value
    assert value("sync_sweep_attempts_failed_total") == 2
    assert value("sync_sweep_events_set_aside_total") == 1
    assert value("sync_sweep_failures_total") == 0


@on_sqlite
async def test_a_failed_pass_and_a_failed_commit_are_counted(
    frail_postgres: PostgresServer, make_settings: MakeSettings, tokens: TokenFactory
) -> None:
    url = frail_postgres.url("postgres")
    async with serve_in_process(
        create_app(make_settings(database_url=url, sync_event_process_interval=0.05))
    ) as client:
        client.headers["Authorization"] = f"Bearer {tokens.token()}"
        assert (await client.get("/sync-events")).status_code == 200
        frail_postgres.stop()
        try:
            assert (
                await client.post("/sync-events", json={"file_id": FILE, "event_type": "upload"})
            ).status_code == 503

            async def is_counted() -> bool:
                return (await scrape(client))("sweep_failures_total") > 0

            await until(is_counted)
            value = await scrape(client)
            assert value("ledger_commit_failures_total") == 1
            assert value("database_up") == 0

            async def is_unused() -> bool:
                return (await scrape(client))("database_connections", state="in_use") == 0

            await until(is_unused)
        finally:
            frail_postgres.start()


@on_sqlite
async def test_a_caller_can_not_invent_labels(anonymous: httpx.AsyncClient) -> None:
    await anonymous.request("BREW", "/sync-events")
    for path in ("/nowhere/1", "/nowhere/2", "/files/not-an-id", "/.env"):
        await anonymous.get(path)
    body = (await anonymous.get("/metrics")).text
    value = read(body)
    assert value("http_requests_total", method="GET", route="unmatched", status="404") == 4
    assert value("http_requests_total", method="OTHER", route="/sync-events", status="405") == 1
    assert not re.search(r"BREW|nowhere|not-an-id|\.env", body)


@on_sqlite
async def test_the_documentation_is_counted_by_its_templates(anonymous: httpx.AsyncClient) -> None:
    page = (await anonymous.get("/docs")).text
    [script] = re.findall(r'src="([^"]+bundle[^"]+)"', page)
    for path in ("/redoc", "/openapi.json", f"/{script}"):
        assert (await anonymous.get(path)).status_code == 200
    value = await scrape(anonymous)
    for route in ("/docs", "/redoc", "/openapi.json", f"/{script.rpartition('/')[0]}/{{name}}"):
        assert value("http_requests_total", method="GET", route=route, status="200") == 1, route


@on_sqlite
async def test_refused_tokens_are_counted_by_reason(
    anonymous: httpx.AsyncClient, tokens: TokenFactory, make_settings: MakeSettings
) -> None:
    await anonymous.get("/sync-events")
    for token in ("nonsense", tokens.token(exp=1), tokens.token(aud="others")):
        await anonymous.get("/sync-events", headers={"Authorization": f"Bearer {token}"})
    unscoped = {"Authorization": f"Bearer {tokens.token(scope='')}"}
    assert (await anonymous.post(f"/sync-events/{FILE}/requeue", headers=unscoped)).status_code == 403
    value = await scrape(anonymous)
    for reason in ("missing", "malformed", "expired", "audience", "scope"):
        assert value("auth_rejections_total", reason=reason) == 1, reason


@on_sqlite
async def test_fetches_of_the_keys_are_counted(
    make_settings: MakeSettings, issuer: KeyServer, signing_key: SigningKey
) -> None:
    before = datetime.now(UTC).timestamp()
    settings = make_settings(jwks_cooldown_seconds=0.05, jwks_refresh_seconds=0.05)
    try:
        async with serve_in_process(create_app(settings)) as client:

            async def counted(outcome: str) -> bool:
                return (await scrape(client))("auth_key_refreshes_total", outcome=outcome) >= 1

            await until(lambda: counted("success"))
            assert before <= (await scrape(client))("auth_keys_confirmed_timestamp_seconds")
            issuer.fail()
            await until(lambda: counted("failure"))
    finally:
        issuer.serve(signing_key)


async def test_the_pool_and_the_build_are_told(client: httpx.AsyncClient, database: Database) -> None:
    await asyncio.gather(*(client.get("/sync-events") for _ in range(5)))
    body = ""

    async def is_idle() -> bool:  # what runs in the background uses a connection now and then
        nonlocal body
        body = (await client.get("/metrics")).text
        return read(body)("database_connections", state="in_use") == 0

    await until(is_idle)
    value = read(body)
    # Those of the five requests, and of the background tasks, which all run once at the start.
    assert 1 <= value("database_connections", state="idle") <= 15
    assert value("database_connections_limit") == 20
    assert re.search(
        rf'sync_build_info{{database="{database.engine.dialect.name}",python="3[^"]+",version="1.0.0"}}', body
    )
    assert "process_resident_memory_bytes" in body
    assert "_created" not in body


@on_sqlite
async def test_hostile_headers_do_no_harm(anonymous: httpx.AsyncClient) -> None:
    for accept in (
        "application/openmetrics-text; version=nonsense",
        "text/plain;version=9.9.9.9.x",
        "\x7f",
        "," * 5000,
    ):
        answer = await anonymous.get("/metrics?name[]=x", headers={"Accept": accept})
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def metric(url: str, name: str, **labels: str) -> float:
    return read(httpx.get(f"{url}/metrics", timeout=10).text)(name, **labels)


@on_sqlite
def test_metrics_can_have_a_port_of_their_own(start_service: Callable[..., ServiceProcess]) -> None:
    reserved = ReservedPort()
    port = reserved.number
    service = start_service(METRICS_PORT=str(port))
    assert httpx.get(f"{service.url}/metrics").status_code == 404
    asyncio.run(until(lambda: metric(f"http://127.0.0.1:{port}", "database_up") == 1))
    elsewhere = httpx.get(f"http://127.0.0.1:{port}/sync-events")
    assert (elsewhere.status_code, elsewhere.headers["Content-Type"]) == (404, "application/problem+json")
    assert elsewhere.headers["X-Request-ID"]
    assert "server" not in elsewhere.headers
    assert httpx.head(f"http://127.0.0.1:{port}/metrics").status_code == 200
    with pytest.raises(RuntimeError, match=f"METRICS_PORT: cannot listen on 127.0.0.1:{service.port}"):
        start_service(METRICS_PORT=str(service.port))
    assert service.end() == 0
