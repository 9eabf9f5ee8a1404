"""Every route of the webhooks needs admin:sync, whatever the settings; on one database."""

from uuid import uuid4

import httpx

from app.main import create_app
from tests.conftest import MakeSettings
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.tokens import TokenFactory

pytestmark = on_sqlite

ONE = f"/subscriptions/{uuid4()}"
ROUTES = [
    *(("POST", "/subscriptions"), ("GET", "/subscriptions"), ("GET", ONE), ("PATCH", ONE), ("DELETE", ONE)),
    *(("POST", f"{ONE}/{action}") for action in ("rotate-secret", "test", "replay", "redeliver")),
    *(("GET", f"{ONE}/deliveries"), ("GET", "/deliveries/1"), ("POST", "/deliveries/1/redeliver")),
    *(("DELETE", f"{ONE}/replay"), ("GET", f"/sync-events/{uuid4()}/deliveries")),
]


async def test_no_route_is_forgotten(anonymous: httpx.AsyncClient) -> None:
    paths = (await anonymous.get("/openapi.json")).json()["paths"]
    ours = [method for path, item in paths.items() for method, one in item.items() if one["tags"][0] in TAGS]
    assert len(ours) == len(ROUTES)


TAGS = {"subscriptions", "deliveries"}


async def test_a_token_without_the_scope_is_refused(
    anonymous: httpx.AsyncClient, make_settings: MakeSettings, tokens: TokenFactory
) -> None:
    headers = {"Authorization": f"Bearer {tokens.token(scope='read:sync write:sync')}"}
    async with serve_in_process(create_app(make_settings(auth_enforce_scopes=True))) as enforcing:
        for client in (anonymous, enforcing):
            for method, path in ROUTES:
                answer = await client.request(method, path, headers=headers, content="not even JSON")
                assert answer.status_code == 403, (method, path)
                assert 'scope="admin:sync"' in answer.headers["WWW-Authenticate"], (method, path)


async def test_nobody_is_refused(anonymous: httpx.AsyncClient) -> None:
    for method, path in ROUTES:
        answer = await anonymous.request(method, path)
        assert answer.status_code == 401, (method, path)
