"""Subscriptions and deliveries as the documentation shows them; each request works when it is sent."""

from typing import Any

from pydantic import JsonValue

from app.events.schemas import EVENT_ID, FILE_ID

SUBSCRIPTION_ID = "019376a5-3b70-7c1e-a2d4-5e6f7a8b9c0d"
DELIVERY_ID = 42
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw7hJ0kP3vXeE="  # noqa: S105 - belongs to nothing
ETAG = '"1"'
URL = "https://metadata.example.com/hooks/sync"

NEW: dict[str, JsonValue] = {"url": URL, "description": "metadata service"}
NEW_FROM_BEGINNING: dict[str, JsonValue] = {
    "url": URL,
    "description": "indexer, from the first event on",
    "event_types": ["upload", "update"],
    "headers": {"Authorization": "Bearer 4f1c9a"},
    "start": "beginning",
    "ordering": "none",
    "max_concurrency": 50,
    "rate_limit_per_second": 200,
}
SUBSCRIPTION: dict[str, JsonValue] = {
    "id": SUBSCRIPTION_ID,
    "url": URL,
    "description": "metadata service",
    "event_types": ["upload", "delete", "update"],
    "header_names": ["Authorization"],
    "ordering": "per_file",
    "max_concurrency": 10,
    "rate_limit_per_second": None,
    "status": "active",
    "status_reason": None,
    "created_at": "2026-01-15T10:30:00Z",
    "created_by": "operator@clients",
    "updated_at": "2026-01-15T10:30:00Z",
    "old_secret_until": None,
    "start_position": 41,
    "backlog": {"live": True, "position": 57, "behind": 2},
    "pending": 3,
    "oldest_pending_at": "2026-01-15T10:31:02.5Z",
    "dead": 0,
    "failing_since": None,
    "slow_until": None,
    "replay": None,
}
REPLAYED: dict[str, JsonValue] = {**SUBSCRIPTION, "replay": {"position": 9, "until": 40}}
CREATED: dict[str, JsonValue] = {
    **SUBSCRIPTION,
    "header_names": [],
    "backlog": {"live": True, "position": 41, "behind": 0},
    "pending": 0,
    "oldest_pending_at": None,
    "secret": SECRET,
}
ROTATED: dict[str, JsonValue] = {"secret": SECRET, "old_secret_until": "2026-01-16T10:30:00Z"}
PINGED: dict[str, JsonValue] = {
    "outcome": "delivered",
    "status_code": 200,
    "duration_ms": 38,
    "response": "ok",
    "error": None,
}
DELIVERY: dict[str, JsonValue] = {
    "id": DELIVERY_ID,
    "subscription_id": SUBSCRIPTION_ID,
    "event_id": EVENT_ID,
    "event_type": "upload",
    "file_id": FILE_ID,
    "position": 42,
    "status": "pending",
    "attempts": 1,
    "last_outcome": "failed",
    "sending": False,
    "next_attempt_at": "2026-01-15T10:31:07.1Z",
    "created_at": "2026-01-15T10:31:02.5Z",
    "settled_at": None,
}
REDELIVERED: dict[str, JsonValue] = {**DELIVERY, "attempts": 0, "created_at": "2026-01-15T10:31:07.1Z"}
ATTEMPT: dict[str, JsonValue] = {
    "number": 1,
    "started_at": "2026-01-15T10:31:02.6Z",
    "duration_ms": 12,
    "outcome": "failed",
    "status_code": 500,
    "response": "no space left on device",
    "error": None,
}
DELIVERY_WITH_HISTORY: dict[str, JsonValue] = {**DELIVERY, "history": [ATTEMPT]}
REDELIVERY: dict[str, JsonValue] = {"redelivered": 7, "has_more": False}

NEW_BODIES: dict[str, Any] = {
    "everything": {"summary": "Every event from now on, in order per file", "value": NEW},
    "chosen": {"summary": "Some events from the beginning, without order, fast", "value": NEW_FROM_BEGINNING},
}
CHANGE_BODIES: dict[str, Any] = {
    "pause": {"summary": "Send nothing for a while; the backlog is kept", "value": {"status": "paused"}},
    "resume": {"summary": "Send again", "value": {"status": "active"}},
    "header": {"summary": "Set one header, leave the rest", "value": {"headers": {"X-Tenant": "blue"}}},
    "faster": {"summary": "More at once", "value": {"max_concurrency": 100, "rate_limit_per_second": 1000}},
}
REPLAY_BODIES: dict[str, Any] = {
    "positions": {"summary": "A range of positions", "value": {"from_position": 1, "until_position": 40}},
    "times": {
        "summary": "What was recorded in an hour",
        "value": {"from_time": "2026-01-15T10:00:00Z", "until_time": "2026-01-15T11:00:00Z"},
    },
}
