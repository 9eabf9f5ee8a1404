"""Deliveries: one event for one subscription each. All operations need the scope `admin:sync`."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, TypeAdapter

from sync_client.connection import bulk_body, path_id
from sync_client.errors import InvalidCall
from sync_client.face import Face_co, operation, pages
from sync_client.models import ResponseModel
from sync_client.pagination import list_pages
from sync_client.resource import Resource

PAGE_DELIVERIES = 100


class Delivery(ResponseModel):
    """One event for one subscription; `status` is `pending`, `delivered` or `dead`."""

    id: int
    subscription_id: UUID
    event_id: UUID
    event_type: str
    file_id: UUID
    position: int
    status: str
    attempts: int
    last_outcome: str | None
    sending: bool
    next_attempt_at: datetime | None
    created_at: AwareDatetime
    settled_at: datetime | None


class Attempt(ResponseModel):
    """One request to the subscriber and its result."""

    number: int
    started_at: AwareDatetime
    duration_ms: int
    outcome: str
    status_code: int | None
    response: str | None
    error: str | None


class DeliveryWithHistory(Delivery):
    """A delivery with its attempts, the newest first."""

    history: tuple[Attempt, ...]


class Redelivered(ResponseModel):
    """Number of deliveries that are pending again; `has_more` when the call must be repeated for the rest."""

    redelivered: int
    has_more: bool


class _BulkRedelivered(ResponseModel):
    redelivered: int


_DELIVERY = TypeAdapter(Delivery)
_DELIVERIES = TypeAdapter(tuple[Delivery, ...])
_WITH_HISTORY = TypeAdapter(DeliveryWithHistory)
_REDELIVERED = TypeAdapter(Redelivered)
_BULK_REDELIVERED = TypeAdapter(_BulkRedelivered)


class Deliveries(Resource[Face_co]):
    """The deliveries of all subscriptions."""

    @pages
    async def list(
        self,
        subscription_id: UUID | str,
        *,
        status: Literal["pending", "delivered", "dead"] | None = None,
        file_id: UUID | str | None = None,
    ) -> AsyncGenerator[Delivery, None]:
        """The deliveries of a subscription, newest event first."""
        path = f"subscriptions/{path_id(subscription_id)}/deliveries"
        query = {
            "status": status,
            "file_id": None if file_id is None else str(file_id),
            "limit": PAGE_DELIVERIES,
        }
        async for one in list_pages(self._connection, path, _DELIVERIES, query, lambda each: -each.position):
            yield one

    @pages
    async def list_of_event(self, event_id: UUID | str) -> AsyncGenerator[Delivery, None]:
        """The deliveries of an event, one for each subscription that it was written for."""
        path, query = f"sync-events/{path_id(event_id)}/deliveries", {"limit": PAGE_DELIVERIES}
        async for one in list_pages(self._connection, path, _DELIVERIES, query, lambda each: each.id):
            yield one

    @operation
    async def get(self, delivery_id: int) -> DeliveryWithHistory:
        """One delivery, and every attempt that is still kept."""
        return (await self._connection.get(_path(delivery_id), _WITH_HISTORY))[0]

    @operation
    async def redeliver(self, delivery_id: int) -> Delivery:
        """Send a dead or delivered delivery again, in its order among the pending ones of its file.

        Raises:
            Conflict: it is pending.
        """
        return (await self._connection.send("POST", f"{_path(delivery_id)}/redeliver", _DELIVERY))[0]

    @operation
    async def redeliver_dead(self, subscription_id: UUID | str) -> Redelivered:
        """Send all dead deliveries of a subscription again, at most 50,000 in a call."""
        path = f"subscriptions/{path_id(subscription_id)}/redeliver"
        return (await self._connection.send("POST", path, _REDELIVERED))[0]

    @operation
    async def redeliver_matching(
        self,
        subscription_id: UUID | str,
        *,
        up_to_position: int,
        expected: int,
        delivery_ids: Sequence[int] | None = None,
        file_id: UUID | str | None = None,
    ) -> int:
        """Send all matching dead deliveries of a subscription again, at or below the position; returns their number.

        `up_to_position` is the highest position that the caller has seen, `expected` the number seen: 1 to 10,000.
        Without a filter all match.

        Raises:
            Conflict: another number matches; nothing is sent again.
        """
        given = {"delivery_ids": delivery_ids, "file_id": None if file_id is None else path_id(file_id)}
        path, body = f"subscriptions/{path_id(subscription_id)}/redeliver", bulk_body(given, up_to_position, expected)
        return (await self._connection.send("POST", path, _BULK_REDELIVERED, body))[0].redelivered


def _path(delivery_id: int) -> str:
    try:
        return f"deliveries/{int(delivery_id)}"
    except ValueError as error:
        raise InvalidCall("the id of a delivery is a number") from error
