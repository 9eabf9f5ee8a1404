"""Subscriptions over HTTP, for tests."""

from typing import Any

import httpx

URL = "https://metadata.example.com/hooks/sync"


async def subscribe(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """Make a subscription; returns what was answered."""
    answer = await client.post("/subscriptions", json={"url": URL, **changes})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def view(client: httpx.AsyncClient, subscription_id: str) -> dict[str, Any]:
    """How a subscription stands."""
    answer = await client.get(f"/subscriptions/{subscription_id}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def change(client: httpx.AsyncClient, subscription_id: str, **changes: Any) -> dict[str, Any]:
    """Change a subscription; returns how it stands then."""
    answer = await client.patch(f"/subscriptions/{subscription_id}", json=changes)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def errors(answer: httpx.Response) -> list[tuple[str, str]]:
    """Where and of which kind the errors of a 422 are."""
    assert answer.status_code == 422, answer.text
    return [(".".join(str(part) for part in error["loc"]), error["type"]) for error in answer.json()["errors"]]
