"""Authentication and permissions, as a client of a small application sees them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from app.auth.dependencies import Operator, Reader, TokenVerifier, Writer, authenticate
from app.auth.token import Principal
from app.config import Settings
from app.errors import add_error_handlers
from app.log.request_line import add_request_fields, begin_request
from app.metrics import Metrics
from tests.auth.clock import FakeClock
from tests.support.keyserver import KeyServer
from tests.support.tokens import TokenFactory

NO_CREDENTIALS = 'Bearer realm="sync-service"'
Connect = Callable[..., Any]


def application() -> FastAPI:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/read")
    async def read(request: Request, principal: Reader) -> dict[str, Any]:
        assert await authenticate(request) is principal is request.state.principal
        return {"subject": principal.subject, "logged": add_request_fields(None, "", {})}

    @app.post("/write")
    async def write(principal: Writer) -> str:
        return principal.subject

    @app.get("/operate")
    async def operate(principal: Operator) -> str:
        return principal.subject

    return app


@asynccontextmanager
async def client_of(**state: object) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, whose requests get the state that the lifespan would give them."""
    app = application()

    async def with_state(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        scope["state"] = {"metrics": Metrics(), "rate_limiter": None, **state}
        begin_request("mine")
        await app(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url="http://test") as client:
        yield client


@pytest.fixture
def connect(make_settings: Callable[..., Settings], make_verifier: Callable[..., TokenVerifier]) -> Connect:
    """Clients of an application with changed settings."""
    return lambda **changes: client_of(settings=make_settings(**changes), verifier=make_verifier(**changes))


@pytest.fixture
def bearer(tokens: TokenFactory, clock: FakeClock) -> Callable[..., dict[str, str]]:
    return lambda **claims: {"Authorization": f"Bearer {tokens.token(now=clock(), **claims)}"}


async def test_a_good_token_is_let_in_and_logged(connect: Connect, bearer: Any) -> None:
    async with connect() as client:
        response = await client.get("/read", headers=bearer())
    assert response.status_code == 200
    assert response.json() == {
        "subject": "chunker@clients",
        "logged": {"request_id": "mine", "subject": "chunker@clients"},
    }


@pytest.mark.parametrize("spelling", ["{}", "bearer {}", "BEARER {}", "Bearer   {}"])
async def test_the_scheme_has_no_case(connect: Connect, bearer: Any, spelling: str) -> None:
    token = bearer()["Authorization"].removeprefix("Bearer ")
    header = spelling.format(token) if " " in spelling else f"Bearer {token}"
    async with connect() as client:
        assert (await client.get("/read", headers={"Authorization": header})).status_code == 200


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic dTpw", "Bearertoken", "Token abc"])
async def test_no_credentials_are_a_plain_challenge(connect: Connect, header: str | None) -> None:
    async with connect() as client:
        response = await client.get("/read", headers={} if header is None else {"Authorization": header})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == NO_CREDENTIALS
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["type"].endswith("unauthenticated")


@pytest.mark.parametrize("token", ["x", "a.b.c", "a b", "tok,en", "\xff", "x" * 9000])
async def test_a_bad_token_is_an_invalid_token(connect: Connect, token: str) -> None:
    async with connect() as client:
        response = await client.get("/read", headers={"Authorization": f"Bearer {token}".encode("latin-1")})
    assert response.status_code == 401
    assert 'error="invalid_token", error_description="' in response.headers["WWW-Authenticate"]
    assert response.json()["detail"] in response.headers["WWW-Authenticate"]


async def test_the_answer_echoes_nothing_of_the_token(connect: Connect, bearer: Any) -> None:
    async with connect() as client:
        response = await client.get("/read", headers=bearer(iss="https://marker/", aud="marker", sub="marker"))
    assert response.status_code == 401
    assert "marker" not in response.text + str(response.headers)


async def test_several_authorization_headers_are_refused(connect: Connect, bearer: Any) -> None:
    good = bearer()["Authorization"]
    for others in ([good], ["Basic dTpw"], [""]):
        headers = [("Authorization", value) for value in (good, *others)]
        async with connect() as client:
            response = await client.get("/read", headers=headers)
        assert response.status_code == 401
        assert "More than one" in response.json()["detail"]


@pytest.mark.parametrize(("method", "path", "scope"), [("GET", "/read", "read"), ("POST", "/write", "write")])
async def test_event_routes_need_scopes_only_when_told_so(
    connect: Connect, bearer: Any, method: str, path: str, scope: str
) -> None:
    other = bearer(scope="write:sync" if scope == "read" else "read:sync")
    async with connect(auth_enforce_scopes=False) as client:
        assert (await client.request(method, path, headers=other)).status_code == 200
    async with connect(auth_enforce_scopes=True) as client:
        assert (await client.request(method, path, headers=bearer(scope=f"{scope}:sync"))).status_code == 200
        refused = await client.request(method, path, headers=other)
    assert refused.status_code == 403
    assert refused.headers["WWW-Authenticate"] == (
        f'{NO_CREDENTIALS}, error="insufficient_scope", scope="{scope}:sync"'
    )


@pytest.mark.parametrize("enforce", [True, False])
async def test_operator_routes_always_need_their_scope(connect: Connect, bearer: Any, enforce: bool) -> None:
    async with connect(auth_enforce_scopes=enforce) as client:
        allowed = await client.get("/operate", headers=bearer(permissions=["admin:sync"]))
        refused = await client.get("/operate", headers=bearer(scope="read:sync write:sync"))
        unknown = await client.get("/operate")
    assert (allowed.status_code, refused.status_code, unknown.status_code) == (200, 403, 401)
    assert 'scope="admin:sync"' in refused.headers["WWW-Authenticate"]
    assert refused.json()["type"].endswith("insufficient-scope")


async def test_without_keys_the_client_is_told_to_come_back(
    connect: Connect, bearer: Any, key_server: KeyServer
) -> None:
    key_server.fail()
    async with connect() as client:
        response = await client.get("/read", headers=bearer())
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "2"
    assert "WWW-Authenticate" not in response.headers
    assert response.json()["type"].endswith("keys-unavailable")


async def test_a_principal_that_is_known_is_not_verified_again(make_settings: Callable[..., Settings]) -> None:
    known = Principal("known", frozenset(), refused_from=0)
    async with client_of(settings=make_settings(), principal=known) as client:
        assert (await client.post("/write")).json() == "known"


def test_the_documentation_shows_the_scheme_and_the_scopes() -> None:
    document = application().openapi()
    scheme = document["components"]["securitySchemes"]["bearer"]
    assert (scheme["type"], scheme["scheme"], scheme["bearerFormat"]) == ("http", "bearer", "JWT")
    operations = [document["paths"][path][method] for path, method in (("/read", "get"), ("/write", "post"))]
    assert [operation["security"] for operation in operations] == [
        [{"bearer": ["read:sync"]}],
        [{"bearer": ["write:sync"]}],
    ]
    assert "parameters" not in operations[0]
    assert document["paths"]["/operate"]["get"]["security"] == [{"bearer": ["admin:sync"]}]
