"""`GET /sync-events/set-aside`: the largest groups by error, and what a bulk requeue of each takes."""

from typing import Any

import httpx
import pytest

from app.database.engine import Database
from app.events.models import RetryState
from tests.events.support import NOW, write_events

ERRORS = ["a", "b", "a", "c", "b", "a"]


async def set_aside(database: Database, errors: list[str | None]) -> None:
    values = [{"last_error": error, "retry_state": RetryState.FAILED, "attempts": 5} for error in errors]
    await write_events(database, [NOW] * len(errors), each=values)


async def groups(client: httpx.AsyncClient) -> Any:
    answer = await client.get("/sync-events/set-aside")
    assert answer.status_code == 200, answer.text
    return answer.json()


def group(error: str | None, events: int, newest: int, following: tuple[int, int]) -> dict[str, Any]:
    return {
        "last_error": error,
        "events": events,
        "oldest_at": f"{NOW:%FT%T}Z",
        "newest_position": newest,
        "next": {"up_to_position": following[0], "expected": following[1]},
    }


async def test_nothing_is_set_aside(client: httpx.AsyncClient, database: Database) -> None:
    await write_events(database, [NOW], retry_state=RetryState.WAITING, last_error="a")
    assert await groups(client) == {"groups": [], "others": 0}


async def test_the_largest_group_comes_first(client: httpx.AsyncClient, database: Database) -> None:
    await set_aside(database, [*ERRORS, None])
    assert await groups(client) == {
        "groups": [
            group("a", 3, 6, (6, 3)),
            group("b", 2, 5, (5, 2)),
            group("c", 1, 4, (4, 1)),
            group(None, 1, 7, (7, 1)),
        ],
        "others": 0,
    }


async def test_groups_events_and_the_next_request_are_bounded(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_aside(database, [*ERRORS, "a", "a", "d"])
    for name, value in (("MAX_GROUPS", 2), ("MAX_NEXT", 2), ("MAX_GROUPED", 8)):
        monkeypatch.setattr(f"app.events.repository.{name}", value)
    monkeypatch.setattr("app.events.set_aside_router.MAX_NEXT", 2)
    assert await groups(client) == {"groups": [group("a", 5, 8, (3, 2)), group("b", 2, 5, (5, 2))], "others": 1}


async def test_what_is_next_is_what_a_bulk_requeue_takes(client: httpx.AsyncClient, database: Database) -> None:
    await set_aside(database, list(ERRORS))
    [largest, *_] = (await groups(client))["groups"]
    request = {"filter": {"last_error": largest["last_error"]}, **largest["next"]}
    assert (await client.post("/sync-events/requeue", json=request)).json() == {"requeued": 3}
    assert [one["last_error"] for one in (await groups(client))["groups"]] == ["b", "c"]
