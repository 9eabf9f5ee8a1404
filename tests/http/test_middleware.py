"""Every request has an id, one log line, and an answer even when it meets a bug."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from app.auth.token import Reason, TokenRejected
from app.errors import Conflict, Unavailable, add_error_handlers
from app.http.middleware import RequestMiddleware, sane_request_id
from app.log import configure_logging
from app.log.request_line import begin_request, bind_request_fields
from app.metrics import HttpMetrics
from tests.log.support import read_printed
from tests.support.application import serve_in_process

log = structlog.get_logger("tests")
RAISED: dict[str, Exception] = {
    "shared-bug": RuntimeError("shared"),
    "refused": Conflict(),
    "away": Unavailable(),
    "rejected": TokenRejected(Reason.EXPIRED),
}
RAISED["away"].__cause__ = OSError("the cable\nforged")
Lines = Callable[[], list[dict[str, Any]]]
ReadLog = Callable[[], Lines]


@asynccontextmanager
async def small_app() -> AsyncIterator[httpx.AsyncClient]:
    """An application with nothing but our middleware and error handlers."""
    app = FastAPI()
    add_error_handlers(app)
    app.add_middleware(RequestMiddleware, limit=10, metrics=HttpMetrics())

    @app.get("/id")
    async def get_id(request: Request) -> str:
        log.info("within", given=request.query_params.get("given"))
        return str(request.state.request_id)

    @app.get("/health")
    async def get_health() -> None:
        """Quiet, since something asks every second."""

    @app.get("/cached")
    async def get_cached(response: Response) -> None:
        response.headers["Cache-Control"] = "max-age=5"

    @app.get("/bug")
    async def meet_bug() -> None:
        raise RuntimeError("hunter2")

    @app.get("/late-bug")
    async def meet_late_bug() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"begun"
            raise RuntimeError("hunter2")

        return StreamingResponse(body())

    @app.get("/raise/{name}")
    async def raise_error(name: str) -> None:
        raise RAISED[name]

    async with serve_in_process(app) as client:
        yield client


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with small_app() as client:
        yield client


@pytest.fixture
def read_log(capsys: pytest.CaptureFixture[str]) -> ReadLog:
    """Start logging as JSON; what comes back reads the lines since the last look."""

    def start() -> Lines:
        # In the test itself, since pytest captures the preparation of a test in another stream.
        configure_logging(level="INFO", as_json=True)
        return lambda: [json.loads(line) for line in read_printed(capsys).err.splitlines()]

    return start


@pytest.mark.parametrize("given", ["a", "01JX.trace:7/8+9=_@-", "x" * 128, "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11"])
async def test_a_sane_id_is_kept(client: httpx.AsyncClient, read_log: ReadLog, given: str) -> None:
    lines = read_log()
    answer = await client.get("/id", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == answer.json() == given
    assert [(line["event"], line["request_id"]) for line in lines()] == [("within", given), ("request", given)]


@pytest.mark.parametrize(
    "given",
    [b"", b" ", b"a b", b"x" * 129, b"x" * 1000, b"a\nb", b"a\r\nX-Evil: 1", b"\x1b[31m", b"a\0", "ü".encode(), b'"<>'],
    ids=repr,
)
async def test_another_id_is_replaced(client: httpx.AsyncClient, read_log: ReadLog, given: bytes) -> None:
    lines = read_log()
    answer = await client.get("/id", headers=[(b"X-Request-ID", given)])
    assert UUID(answer.headers["X-Request-ID"]).version == 7
    assert answer.json() == answer.headers["X-Request-ID"]
    assert {line["request_id"] for line in lines()} == {answer.headers["X-Request-ID"]}


async def test_requests_get_different_ids(client: httpx.AsyncClient) -> None:
    ids = {(await client.get("/id")).json() for _ in range(20)}
    assert len(ids) == 20
    assert sane_request_id(None) != sane_request_id(None)


async def test_an_answer_has_one_id_however_many_were_sent(client: httpx.AsyncClient) -> None:
    answer = await client.get("/id", headers=[("X-Request-ID", "one"), ("X-Request-ID", "two")])
    assert answer.headers.get_list("X-Request-ID") == ["one"]


async def test_a_request_is_one_line(client: httpx.AsyncClient, read_log: ReadLog) -> None:
    lines = read_log()
    await client.get("/nowhere?token=hunter2")
    [line] = lines()
    assert line["duration_ms"] >= 0
    expected = {"event": "request", "method": "GET", "path": "/nowhere", "status": 404, "level": "info"}
    assert {name: line[name] for name in expected} == expected
    assert "hunter2" not in json.dumps(line)


async def test_health_checks_fill_no_log(client: httpx.AsyncClient, read_log: ReadLog) -> None:
    lines = read_log()
    assert (await client.get("/health")).status_code == 200
    assert lines() == []


@pytest.mark.parametrize(
    ("path", "caching"),
    [("/id", "no-store"), ("/raise/refused", "no-store"), ("/bug", "no-store"), ("/cached", "max-age=5")],
)
async def test_a_response_is_not_stored_unless_its_route_allows_it(
    client: httpx.AsyncClient, path: str, caching: str
) -> None:
    headers = (await client.get(path)).headers
    assert headers.get_list("Cache-Control") == [caching]
    assert headers.get_list("X-Content-Type-Options") == ["nosniff"]


async def test_a_bug_is_a_problem_document_and_is_logged(client: httpx.AsyncClient, read_log: ReadLog) -> None:
    lines = read_log()
    answer = await client.get("/bug", headers={"X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] == "mine"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "An unexpected error; the log has it under this request id.",
        "instance": "urn:request:mine",
    }
    [line] = lines()
    assert (line["event"], line["level"], line["status"], line["request_id"]) == ("request", "error", 500, "mine")
    assert line["exception"][0]["exc_value"] == "hunter2"
    assert (await client.get("/id")).status_code == 200


async def test_a_bug_after_the_answer_began_is_logged_and_left_to_the_server(
    client: httpx.AsyncClient, read_log: ReadLog
) -> None:
    lines = read_log()
    answer = await client.get("/late-bug")
    assert answer.text in ("", "begun")
    [line] = lines()
    assert (line["event"], line["level"], line["status"]) == ("request", "error", 200)
    assert line["exception"][0]["exc_value"] == "hunter2"


async def test_a_bug_that_two_requests_share_is_in_the_line_of_each(
    client: httpx.AsyncClient, read_log: ReadLog
) -> None:
    lines = read_log()
    for _ in range(2):
        await client.get("/raise/shared-bug")
    assert [line["exception"][0]["exc_value"] for line in lines()] == ["shared", "shared"]


@pytest.mark.parametrize(
    ("path", "level", "fields"),
    [
        ("/raise/refused", "info", {"status": 409, "problem": "conflict"}),
        ("/raise/away", "warning", {"status": 503, "problem": "unavailable", "reason": "OSError: the cable"}),
        ("/raise/rejected", "info", {"status": 401, "problem": "unauthenticated", "reason": "expired"}),
        ("/id?given=1", "info", {"status": 200}),
    ],
)
async def test_the_line_says_why_a_request_was_refused(
    client: httpx.AsyncClient, read_log: ReadLog, path: str, level: str, fields: dict[str, Any]
) -> None:
    lines = read_log()
    await client.get(path)
    *_, line = lines()
    assert line["level"] == level
    assert {name: line.get(name) for name in ("status", "problem", "reason") if name in line} == fields


async def test_one_request_tells_nothing_of_another(client: httpx.AsyncClient, read_log: ReadLog) -> None:
    lines = read_log()
    begin_request("another")
    bind_request_fields(subject="somebody else")
    await client.get("/id")
    assert all("subject" not in line for line in lines())


async def test_what_is_no_request_passes() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_arguments: Any) -> Any:
        raise AssertionError

    await RequestMiddleware(app, 0, HttpMetrics())({"type": "websocket"}, nothing, nothing)
    assert seen == ["websocket"]
