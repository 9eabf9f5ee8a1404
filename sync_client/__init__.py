"""A client of Sync Service, for asyncio and without it. It needs httpx, pydantic and standardwebhooks.

Nothing in it needs the service's code: the folder can be installed (`pip install ./sync_client`) or copied.
"""

from sync_client.client import BlockingSyncClient, SyncClient
from sync_client.connection import Exchange
from sync_client.cursor import CursorCalls, CursorFile, CursorStore
from sync_client.deliveries import Attempt, Delivery, DeliveryWithHistory, Redelivered
from sync_client.errors import (
    BadRequest,
    Conflict,
    CursorExpired,
    CursorStoreError,
    EventsLost,
    Forbidden,
    GapError,
    Invalid,
    InvalidCall,
    NotFound,
    PreconditionFailed,
    Refused,
    SignatureRefused,
    SyncError,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from sync_client.models import (
    Change,
    ChangePage,
    Created,
    Event,
    EventType,
    FieldError,
    FileState,
    FileSubscription,
    Health,
    NewEvent,
    Problem,
)
from sync_client.retry import RetryPolicy
from sync_client.subscriptions import CreatedSubscription, PingResult, RotatedSecret, Subscription
from sync_client.version import __version__
from sync_client.webhooks import WebhookMessage, verify

__all__ = [
    "Attempt",
    "BadRequest",
    "BlockingSyncClient",
    "Change",
    "ChangePage",
    "Conflict",
    "Created",
    "CreatedSubscription",
    "CursorCalls",
    "CursorExpired",
    "CursorFile",
    "CursorStore",
    "CursorStoreError",
    "Delivery",
    "DeliveryWithHistory",
    "Event",
    "EventType",
    "EventsLost",
    "Exchange",
    "FieldError",
    "FileState",
    "FileSubscription",
    "Forbidden",
    "GapError",
    "Health",
    "Invalid",
    "InvalidCall",
    "NewEvent",
    "NotFound",
    "PingResult",
    "PreconditionFailed",
    "Problem",
    "Redelivered",
    "Refused",
    "RetryPolicy",
    "RotatedSecret",
    "SignatureRefused",
    "Subscription",
    "SyncClient",
    "SyncError",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "WebhookMessage",
    "__version__",
    "verify",
]
