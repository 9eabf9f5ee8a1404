"""What is checked before a body is read, and which query parameters a route takes."""

from uuid import uuid4

import httpx

from app.main import create_app
from tests.conftest import MakeSettings
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.tokens import TokenFactory

UNKNOWN_ID = "0199a3c2-5f0e-7c41-9d35-6b1f0e8a7d24"

pytestmark = on_sqlite


async def test_a_missing_scope_is_told_before_the_body_is_read(
    make_settings: MakeSettings, tokens: TokenFactory
) -> None:
    headers = {"Authorization": f"Bearer {tokens.token(scope='read:sync')}"}
    async with serve_in_process(create_app(make_settings(auth_enforce_scopes=True))) as client:
        for path in ("/sync-events", "/sync-events/batch"):
            answer = await client.post(path, content=b"{not json", headers=headers)
            assert answer.status_code == 403
            assert 'scope="write:sync"' in answer.headers["WWW-Authenticate"]
        assert (await client.get("/sync-events", headers=headers)).status_code == 200


PARAMETERS = {
    "/sync-events": (
        "there are: anomaly, before_position, created_after, created_before, event_type, file_id, limit, "
        "offset, processed, state"
    ),
    "/changes": "there are: cursor, event_type, file_id, limit, wait",
    f"/sync-events/{UNKNOWN_ID}": "there is none here",
    f"/files/{UNKNOWN_ID}": "there is none here",
}


async def test_an_unknown_parameter_is_refused_and_not_echoed(client: httpx.AsyncClient) -> None:
    for path, names in PARAMETERS.items():
        answer = await client.get(f"{path}?limt=5&{'x' * 1000}=1")
        assert answer.status_code == 422
        error = {
            "loc": ["query", "(unknown parameter)"],
            "msg": f"Unknown parameter; {names}",
            "type": "extra_forbidden",
        }
        assert answer.json()["errors"] == [error]


async def test_a_slash_at_the_end_is_another_path_and_no_redirect(client: httpx.AsyncClient) -> None:
    for path in ("/sync-events/", "/health/", f"/files/{UNKNOWN_ID}/"):
        answer = await client.get(path, headers={"Host": "evil.invalid"})
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "Location" not in answer.headers


async def test_an_unknown_parameter_does_not_hide_one_that_came_twice(client: httpx.AsyncClient) -> None:
    errors = (await client.get("/sync-events?limit=5&limit=6&limt=5&limt=6")).json()["errors"]
    assert [error["loc"] for error in errors] == [["query", "limit"], ["query", "(unknown parameter)"]]


async def test_a_parameter_may_come_once(client: httpx.AsyncClient) -> None:
    answer = await client.get("/sync-events?processed=true&processed=false&limit=5")
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["errors"]] == [["query", "processed"]]


async def test_a_post_takes_no_parameters(client: httpx.AsyncClient) -> None:
    event = {"file_id": str(uuid4()), "event_type": "upload"}
    assert (await client.post("/sync-events?x=1", json=event)).status_code == 422
    assert (await client.get("/sync-events")).json() == []


async def test_an_id_that_is_no_uuid_is_told_what_ids_are(client: httpx.AsyncClient) -> None:
    for path in ("/sync-events/{}", "/files/{}", "/files/{}/events", "/subscriptions/{}"):
        answer = await client.get(path.format(UNKNOWN_ID[:-1]))
        assert answer.status_code == 404
        assert "are UUIDs" in answer.json()["detail"]
        assert "are UUIDs" not in (await client.get(path.format(UNKNOWN_ID))).json().get("detail", "")
