"""Traces of a real process in a real collector; and none, at no cost, when nobody asks for them."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.tracing import MAX_LINKS
from tests.support.marks import on_sqlite
from tests.support.ports import ReservedPort
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory
from tests.support.waiting import until
from tests.tracing.collector import Collector, ReceivedSpan

Start = Callable[..., ServiceProcess]
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
FAST = {"OTEL_BSP_SCHEDULE_DELAY": "50", "LOG_LEVEL": "INFO", "LOG_FORMAT": "json"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def event() -> dict[str, str]:
    """An event to post."""
    return {"file_id": str(uuid4()), "event_type": "upload"}


def read_log(service: ServiceProcess) -> list[dict[str, Any]]:
    """The records of a service that logs JSON and has ended."""
    return [json.loads(line) for line in service.output().splitlines()]


def end(service: ServiceProcess) -> None:
    """End a service in an orderly way, which takes a bounded time whatever the collector does."""
    assert service.end() == 0


@pytest.fixture
def post(tokens: TokenFactory) -> Callable[..., httpx.Response]:
    def post(service: ServiceProcess, path: str = "/sync-events", body: Any = None, **headers: str) -> httpx.Response:
        all_headers = {"Authorization": f"Bearer {tokens.token()}", **headers}
        return httpx.post(f"{service.url}{path}", json=body or event(), headers=all_headers, timeout=30)

    return post


async def test_a_request_its_commit_and_the_sweep_are_traced(
    start_service: Start, collector: Collector, post: Callable[..., httpx.Response]
) -> None:
    service = start_service(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **FAST)
    assert post(service, traceparent=TRACEPARENT).status_code == 201
    batch = {"events": [event() for _ in range(3)]}
    assert post(service, "/sync-events/batch", batch).status_code == 201
    await until(lambda: sum(span.attributes["sync.processed"] for span in collector.named("sweep.batch")) == 4)
    await asyncio.to_thread(httpx.get, f"{service.url}/health/live")
    end(service)

    [request] = collector.named("POST /sync-events")
    [batch_request] = collector.named("POST /sync-events/batch")
    assert (request.trace_id, request.parent_id) == (TRACE_ID, PARENT_ID)
    assert request.attributes["http.response.status_code"] == 201
    assert (request.resource["service.name"], request.resource["service.version"]) == ("sync-service", "1.0.0")
    single, several = collector.named("ledger.commit")
    assert_commit_of(single, request, events=1)
    assert_commit_of(several, batch_request, events=3)
    for sweep in collector.named("sweep.batch"):
        assert sweep.attributes["sync.events"] == sweep.attributes["sync.processed"] > 0
        assert (sweep.attributes["sync.failed"], sweep.parent_id, sweep.failed) == (0, "", False)
    names = {span.name for span in collector.spans}
    assert names == {"POST /sync-events", "POST /sync-events/batch", "ledger.commit", "sweep.batch"}

    [line] = [line for line in read_log(service) if line.get("path") == "/sync-events"]
    assert (line["trace_id"], line["span_id"]) == (TRACE_ID, request.span_id)


def assert_commit_of(commit: ReceivedSpan, request: ReceivedSpan, *, events: int) -> None:
    """The commit is in a trace of its own, and leads to the request."""
    assert commit.attributes == {"sync.events": events, "sync.appends": 1}
    assert commit.links == ((request.trace_id, request.span_id),)
    assert commit.parent_id == ""
    assert commit.trace_id != request.trace_id


@on_sqlite
def test_the_operators_names_and_headers_are_used(
    start_service: Start, collector: Collector, post: Callable[..., httpx.Response]
) -> None:
    service = start_service(
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces",
        OTEL_EXPORTER_OTLP_HEADERS="api-key=hunter2",
        OTEL_SERVICE_NAME="mine",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test,service.version=7",
        **{**FAST, "LOG_LEVEL": "DEBUG"},
    )
    post(service)
    end(service)
    resource = collector.spans[0].resource
    assert (resource["service.name"], resource["service.version"]) == ("mine", "7")
    assert resource["deployment.environment"] == "test"
    assert {headers["api-key"] for headers in collector.headers} == {"hunter2"}
    assert "hunter2" not in service.output()


@on_sqlite
async def test_a_commit_leads_to_some_of_its_requests(
    start_service: Start, collector: Collector, tokens: TokenFactory
) -> None:
    service = start_service(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **FAST)
    headers = {"Authorization": f"Bearer {tokens.token()}"}
    async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=30) as client:
        answers = await asyncio.gather(*(client.post("/sync-events", json=event()) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {201}
    end(service)
    requests = {(span.trace_id, span.span_id) for span in collector.named("POST /sync-events")}
    commits = collector.named("ledger.commit")
    assert sum(commit.attributes["sync.appends"] for commit in commits) == len(requests) == 100
    for commit in commits:
        assert len(commit.links) == min(commit.attributes["sync.appends"], MAX_LINKS)
        assert requests.issuperset(commit.links)


HOSTILE_HEADERS = [
    {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
    {"traceparent": "ff-" + "z" * 600},
    {"traceparent": TRACEPARENT, "tracestate": "hunter2=" + "x" * 3000},
    {"traceparent": TRACEPARENT, "tracestate": ",".join(f"k{n}=hunter2" for n in range(100))},
    {"baggage": "hunter2," * 900},
    {"baggage": "hunter2=%FF%00%0Aforged; x, =, ==, hunter2"},
    {"Host": "[::1"},
    {"Host": "hunter2:99999"},
    {"Host": "hunter2@x"},
]
HOSTILE_QUERIES = ["?token=hunter2", "?hunter2", "?a=%FF%FE%00&hunter2=%ZZ", "?%F0%9F&" + "&" * 1000]


@on_sqlite
def test_what_callers_send_harms_nobody(
    start_service: Start, collector: Collector, post: Callable[..., httpx.Response]
) -> None:
    service = start_service(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **FAST)
    for headers in HOSTILE_HEADERS:
        assert post(service, **headers).status_code == 201
    for query in HOSTILE_QUERIES:
        assert post(service, f"/sync-events{query}").status_code == 422
    end(service)
    requests = [span for span in collector.spans if span.name.startswith("POST")]
    assert len(requests) == len(HOSTILE_HEADERS) + len(HOSTILE_QUERIES)
    assert {span.attributes.get("url.query", "REDACTED") for span in requests} == {"REDACTED"}
    assert not [body for body in collector.raw if b"hunter2" in body]
    lines = read_log(service)
    assert sum(line["event"] == "request" for line in lines) == len(requests)
    assert not [line for line in lines if line["logger"].startswith("opentelemetry")]
    assert "hunter2" not in service.output()


@on_sqlite
@pytest.mark.parametrize("kind", ["refuses", "hangs", "is no collector"])
def test_a_dead_collector_does_no_harm(
    start_service: Start, collector: Collector, post: Callable[..., httpx.Response], kind: str
) -> None:
    url, unused = collector.url, ReservedPort()
    if kind == "refuses":
        url = f"http://127.0.0.1:{unused.number}"
    if kind == "hangs":
        collector.hanging.set()
    if kind == "is no collector":
        url = "hunter2://hunter2:hunter2@hunter2"
    service = start_service(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_HEADERS="k=hunter2, hunter2", **FAST)
    for _ in range(10):
        assert post(service).status_code == 201
        time.sleep(0.05)  # for the next batch of spans
    end(service)
    lines = [line for line in read_log(service) if line["event"] != "request"]
    about = [line for line in lines if line["logger"].startswith(("opentelemetry", "app.tracing"))]
    assert 1 <= len(about) <= 5
    assert lines[-1]["event"].startswith("Finished server process")
    assert "hunter2" not in service.output()


@on_sqlite
@pytest.mark.parametrize(
    ("variables", "logged"),
    [
        ({"OTEL_TRACES_EXPORTER": "none"}, 0),
        ({"OTEL_SDK_DISABLED": "true"}, 0),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, 1),
        ({"OTEL_TRACES_EXPORTER": "console"}, 1),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "0"}, 1),
    ],
    ids=str,
)
def test_tracing_is_off_when_the_variables_say_so_or_make_no_sense(
    start_service: Start,
    collector: Collector,
    post: Callable[..., httpx.Response],
    variables: dict[str, str],
    logged: int,
) -> None:
    service = start_service(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **FAST, **variables)
    assert post(service, traceparent=TRACEPARENT).status_code == 201
    end(service)
    assert collector.spans == []
    lines = read_log(service)
    assert len([line for line in lines if line["logger"].startswith("app.tracing")]) == logged
    assert not [line for line in lines if "trace_id" in line]
