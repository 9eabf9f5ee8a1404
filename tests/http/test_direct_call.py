"""A direct call answers as FastAPI's own handler does, and is refused to a route of a shape that it can not serve."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, Body, Cookie, Depends, FastAPI, Header, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, StringConstraints

from app.http.direct_call import DirectCall
from app.http.types import Uuid

Key = Annotated[str, StringConstraints(pattern=r"^[a-z]{1,3}$")]
JSON = {"content-type": "application/json"}
THING = "0199a3c2-5f0e-7c41-9d35-6b1f0e8a7d24"


class Thing(BaseModel):
    """What is sent."""

    name: str = Field(max_length=3)
    size: int = 0


class Answer(BaseModel):
    """What is answered."""

    seen: str
    thing: UUID | None = None


class DirectRoute(APIRoute):
    """Answers by a direct call."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See there."""
        return DirectCall(self, {}).__call__


async def get_agent(request: Request) -> str:
    return request.headers["user-agent"]


async def get_key(request: Request, the_key: Annotated[Key | None, Header()] = None) -> str | None:
    return f"{request.method} {the_key}"


def create_app(route_class: type[APIRoute]) -> FastAPI:
    """The same two routes, of either class."""
    router = APIRouter(route_class=route_class)

    @router.post("/things", status_code=201)
    async def post(
        thing: Thing,
        agent: Annotated[str, Depends(get_agent)],
        key: Annotated[str, Depends(get_key)],
        response: Response,
    ) -> Answer:
        response.headers["Location"] = f"/things/{thing.name}"
        response.headers.append("Set-Cookie", "a=1")
        response.headers.append("Set-Cookie", "b=2")
        return Answer(seen=f"{thing} {agent} {key}")

    @router.get("/things/{thing_id}")
    async def get(thing_id: Uuid, key: Annotated[str, Depends(get_key)]) -> Answer:
        return Answer(seen=key, thing=thing_id)

    app = FastAPI()
    app.router.routes.extend(router.routes)
    return app


@pytest.fixture
async def both() -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of each."""
    clients = [
        httpx.AsyncClient(transport=httpx.ASGITransport(create_app(kind)), base_url="http://here")
        for kind in (APIRoute, DirectRoute)
    ]
    yield clients
    for client in clients:
        await client.aclose()


REQUESTS: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "good": ("POST", "/things", {"json": {"name": "abc", "size": 5}, "headers": {"the-key": "x"}}, 201),
    "without the header": ("POST", "/things", {"json": {"name": "abc"}}, 201),
    "with a value of the wrong type": ("POST", "/things", {"json": {"name": 5, "size": "many"}}, 422),
    "with a bad header and a bad body": (
        "POST",
        "/things",
        {"json": {"name": "long"}, "headers": {"the-key": "X!"}},
        422,
    ),
    "without a body": ("POST", "/things", {"headers": JSON}, 422),
    "null": (
        "POST",
        "/things",
        {"content": b"null", "headers": JSON},
        422,
    ),
    "a list": ("POST", "/things", {"json": [1]}, 422),
    "found": ("GET", f"/things/{THING}", {}, 200),
    "found with a header": ("GET", f"/things/{THING.upper()}", {"headers": {"the-key": "abc"}}, 200),
    "a path that is no id": ("GET", "/things/5", {}, 422),
    "a path and a header": ("GET", "/things/5", {"headers": {"the-key": "ABCD"}}, 422),
    "another method": ("PUT", "/things", {}, 405),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_it_answers_as_fastapi_does(both: list[httpx.AsyncClient], name: str) -> None:
    method, path, what, status = REQUESTS[name]
    usual, direct = [await client.request(method, path, **what) for client in both]
    assert usual.status_code == direct.status_code == status
    assert usual.json() == direct.json()
    assert sorted(usual.headers.multi_items()) == sorted(direct.headers.multi_items())


async def test_a_text_that_is_not_json_is_refused_at_the_same_place(both: list[httpx.AsyncClient]) -> None:
    usual, direct = [await client.post("/things", content=b'{"name": ', headers=JSON) for client in both]
    assert usual.status_code == direct.status_code == 422
    [expected], [found] = usual.json()["detail"], direct.json()["detail"]
    assert [found[name] for name in ("type", "loc", "ctx")] == [expected[name] for name in ("type", "loc", "ctx")]


async def get_nested(agent: Annotated[str, Depends(get_agent)]) -> str:
    return agent


async def get_required(the_key: Annotated[str, Header()]) -> str:
    return the_key


async def get_yielded() -> AsyncIterator[str]:
    yield "x"


def get_at_once() -> str:
    return "x"


async def with_query(page: int = 0) -> Answer:
    return Answer(seen=str(page))


async def with_cookie(taste: Annotated[str, Cookie()] = "") -> Answer:
    return Answer(seen=taste)


async def with_header(the_key: Annotated[str, Header()] = "") -> Answer:
    return Answer(seen=the_key)


async def with_request(request: Request) -> Answer:
    return Answer(seen=request.url.path)


async def with_nested(agent: Annotated[str, Depends(get_nested)]) -> Answer:
    return Answer(seen=agent)


async def with_required(key: Annotated[str, Depends(get_required)]) -> Answer:
    return Answer(seen=key)


async def with_yielded(key: Annotated[str, Depends(get_yielded)]) -> Answer:
    return Answer(seen=key)


async def with_function(key: Annotated[str, Depends(get_at_once)]) -> Answer:
    return Answer(seen=key)


async def with_two_bodies(one: Thing, other: Thing) -> Answer:
    return Answer(seen=f"{one} {other}")


async def with_optional_body(one: Thing | None = None) -> Answer:
    return Answer(seen=f"{one}")


async def with_embedded_body(one: Annotated[Thing, Body(embed=True)]) -> Answer:
    return Answer(seen=f"{one}")


def at_once() -> Answer:
    return Answer(seen="x")


async def plain() -> Answer:
    return Answer(seen="x")


async def with_own_response() -> Response:
    return Response()


SHAPES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    one.__name__: (one, {})
    for one in (
        with_query,
        with_cookie,
        with_header,
        with_request,
        with_nested,
        with_required,
        with_yielded,
        with_function,
        with_two_bodies,
        with_optional_body,
        with_embedded_body,
        at_once,
        with_own_response,
    )
} | {
    "another model": (plain, {"response_model": Thing}),
    "members left out": (plain, {"response_model_exclude_none": True}),
    "no content": (plain, {"status_code": 204}),
    "dependencies of the route": (plain, {"dependencies": [Depends(get_agent)]}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_another_shape_is_refused_when_the_route_is_made(name: str) -> None:
    endpoint, options = SHAPES[name]
    router = APIRouter(route_class=DirectRoute)
    with pytest.raises((TypeError, AssertionError)):
        router.add_api_route("/things", endpoint, methods=["POST"], **options)
