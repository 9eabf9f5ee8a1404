"""A client of Sync Service. It needs httpx and pydantic, and nothing of the service: the folder can be copied."""

from sync_client.client import SyncClient
from sync_client.cursor import CursorCalls, CursorFile, CursorStore
from sync_client.errors import (
    BadRequest,
    Conflict,
    CursorExpired,
    CursorStoreError,
    EventsLost,
    Forbidden,
    GapError,
    Invalid,
    NotFound,
    Refused,
    SyncError,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from sync_client.models import Change, Created, Event, EventType, FieldError, NewEvent, Problem
from sync_client.retry import RetryPolicy

__all__ = [
    "BadRequest",
    "Change",
    "Conflict",
    "Created",
    "CursorCalls",
    "CursorExpired",
    "CursorFile",
    "CursorStore",
    "CursorStoreError",
    "Event",
    "EventType",
    "EventsLost",
    "FieldError",
    "Forbidden",
    "GapError",
    "Invalid",
    "NewEvent",
    "NotFound",
    "Problem",
    "Refused",
    "RetryPolicy",
    "SyncClient",
    "SyncError",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
]
