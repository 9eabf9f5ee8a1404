"""Every error is a problem document of the same shape (RFC 9457)."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from app.errors import (
    MAX_FIELD_ERRORS,
    Conflict,
    FieldError,
    NotFound,
    Problem,
    ProblemError,
    Unavailable,
    Unprocessable,
    ValidationProblem,
    add_error_handlers,
    phrase,
)
from app.http.middleware import RequestMiddleware
from app.metrics import HttpMetrics
from tests.support.application import serve_in_process


class Teapot(ProblemError):
    """A problem of the test's own."""

    status, code, detail = 418, "teapot", "No coffee here."


class Unknown(Unprocessable):
    """422 of a kind."""

    code, detail = "unknown-thing", "Nobody knows this."


FIELD = FieldError(loc=["body", "a"], msg="No", type="no")
RAISED: dict[str, Exception] = {
    "not-found": NotFound(),
    "conflict": Conflict("Not now."),
    "unavailable": Unavailable(retry_after_seconds=7),
    "whole": Unknown(),
    "field": Unprocessable("Wrong.", errors=[FIELD]),
    "teapot": Teapot(headers={"X-Tea": "green"}),
    "http": HTTPException(403, headers={"X-Why": "because"}),
    "bug": ZeroDivisionError("hunter2"),
}


class Body(BaseModel, extra="forbid"):
    """What the small application takes."""

    numbers: list[int]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    add_error_handlers(app)
    app.add_middleware(RequestMiddleware, limit=10, metrics=HttpMetrics())

    @app.get("/raise/{name}")
    async def raise_error(name: str) -> None:
        raise RAISED[name]

    @app.get("/shared")
    async def read() -> None:
        """One of two routes at a path."""

    @app.put("/shared")
    async def write() -> None:
        """The other."""

    @app.post("/body")
    async def take(body: Body) -> None:
        """Validates."""

    async with serve_in_process(app) as client:
        yield client


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The members of a problem document, once what all of them share is checked."""
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body.pop("status") == status
    kind = body["type"].rpartition(":")[2]
    page = f"http://sync-service/problems/{kind}" if kind != "blank" else None
    assert (urljoin(str(answer.url), docs) if (docs := body.pop("docs", None)) else None) == page
    assert body.pop("title") == phrase(status)
    assert body.pop("instance") == f"urn:request:{answer.headers['X-Request-ID']}"
    return body


@pytest.mark.parametrize(
    ("name", "status", "kind", "detail"),
    [
        ("not-found", 404, "not-found", "There is no such resource."),
        ("conflict", 409, "conflict", "Not now."),
        ("unavailable", 503, "unavailable", "The service cannot respond to this now; try again."),
        ("teapot", 418, "teapot", "No coffee here."),
    ],
)
async def test_an_error_carries_its_answer(
    client: httpx.AsyncClient, name: str, status: int, kind: str, detail: str
) -> None:
    answer = await client.get(f"/raise/{name}")
    assert problem(answer, status) == {"type": f"urn:sync-service:problem:{kind}", "detail": detail}


async def test_an_error_carries_its_headers(client: httpx.AsyncClient) -> None:
    assert (await client.get("/raise/unavailable")).headers["Retry-After"] == "7"
    assert (await client.get("/raise/teapot")).headers["X-Tea"] == "green"
    assert (await client.get("/raise/http")).headers["X-Why"] == "because"


async def test_a_422_always_says_where(client: httpx.AsyncClient) -> None:
    whole = problem(await client.get("/raise/whole"), 422)
    assert whole["errors"] == [{"loc": [], "msg": "Nobody knows this.", "type": "unknown_thing"}]
    assert problem(await client.get("/raise/field"), 422)["errors"] == [FIELD.model_dump()]


async def test_what_the_framework_raises_looks_the_same(client: httpx.AsyncClient) -> None:
    assert problem(await client.get("/raise/http"), 403) == {"type": "about:blank", "detail": "Forbidden"}
    assert problem(await client.get("/nowhere"), 404) == {
        "type": "about:blank",
        "detail": "There is nothing at this path. The ids of events, files and subscriptions are UUIDs.",
    }


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "PATCH"])
async def test_a_405_lists_the_methods_of_every_route_at_the_path(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/shared")
    assert problem(answer, 405) == {"type": "about:blank", "detail": "Method Not Allowed"}
    assert answer.headers["Allow"] == "GET, PUT"


async def test_a_bug_tells_the_caller_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.get("/raise/bug")
    assert problem(answer, 500)["type"] == "about:blank"
    for word in ("hunter2", "ZeroDivision", "Traceback", "test_errors"):
        assert word not in answer.text


async def test_a_bug_outside_the_middleware_is_a_problem_too() -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/")
    async def fail() -> None:
        raise ZeroDivisionError("hunter2")

    async with serve_in_process(app) as client:
        answer = await client.get("/")
    assert answer.json()["instance"] == "urn:request:unknown"
    assert "hunter2" not in answer.text


async def test_invalid_input_is_located_and_not_echoed(client: httpx.AsyncClient) -> None:
    body = problem(await client.post("/body", json={"numbers": [1, "hunter2"], "hunter2!": 1}), 422)
    assert body["type"] == "urn:sync-service:problem:invalid-request"
    assert [error["loc"] for error in body["errors"]] == [["body", "numbers", 1], ["body", "(unknown field)"]]
    assert "hunter2" not in str(body)


@pytest.mark.parametrize("name", ["metadta", "_", "a" * 64])
async def test_an_unknown_field_with_a_harmless_name_is_named(client: httpx.AsyncClient, name: str) -> None:
    body = problem(await client.post("/body", json={"numbers": [1], name: 1}), 422)
    assert [error["loc"] for error in body["errors"]] == [["body", name]]


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "<b>", "1a", "größe", "a\n", "a-b"])
async def test_an_unknown_field_with_another_name_is_not(client: httpx.AsyncClient, name: str) -> None:
    body = problem(await client.post("/body", json={"numbers": [1], name: 1}), 422)
    assert [error["loc"] for error in body["errors"]] == [["body", "(unknown field)"]]


async def test_broken_json_is_located(client: httpx.AsyncClient) -> None:
    answer = await client.post("/body", content='{"numbers": hunter2}', headers={"Content-Type": "application/json"})
    [error] = problem(answer, 422)["errors"]
    assert (error["loc"], error["type"]) == (["body", 12], "json_invalid")
    assert error["msg"].endswith("Expecting value")
    assert "hunter2" not in answer.text


async def test_errors_beyond_the_first_hundred_are_counted(client: httpx.AsyncClient) -> None:
    exact = problem(await client.post("/body", json={"numbers": ["x"] * MAX_FIELD_ERRORS}), 422)
    assert len(exact["errors"]) == MAX_FIELD_ERRORS
    assert "100" not in exact["detail"]
    many = problem(await client.post("/body", json={"numbers": ["x"] * 12_345}), 422)
    assert len(many["errors"]) == MAX_FIELD_ERRORS
    assert "12345" in many["detail"]


async def test_the_documents_match_their_schemas(client: httpx.AsyncClient) -> None:
    Problem.model_validate((await client.get("/nowhere")).json(), strict=True, extra="forbid")
    ValidationProblem.model_validate((await client.get("/raise/whole")).json(), strict=True, extra="forbid")
