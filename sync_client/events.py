"""Events: record them, read them, requeue them."""

import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from sync_client.batch import split_batches
from sync_client.connection import Connection, bulk_body, path_id
from sync_client.errors import InvalidCall, Refused
from sync_client.face import Face_co, operation, pages
from sync_client.models import Created, CreatedBatch, Event, EventType, NewEvent, ResponseModel, SetAside
from sync_client.pagination import list_pages
from sync_client.resource import Resource

LIST_PAGE_EVENTS = 100

_KEY = re.compile(r"[!-~]{1,255}")
_CREATED = TypeAdapter(Created)
_CREATED_BATCH = TypeAdapter(CreatedBatch)
_SET_ASIDE = TypeAdapter(SetAside)
EVENT = TypeAdapter(Event)
EVENTS = TypeAdapter(tuple[Event, ...])


class _Requeued(ResponseModel):
    requeued: int


_REQUEUED = TypeAdapter(_Requeued)


class Events(Resource[Face_co]):
    """The events of the ledger. `create`, `create_many`, `get` and `list` are methods of the client itself too."""

    @operation
    async def create(
        self,
        file_id: UUID | str,
        event_type: EventType,
        metadata: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Created:
        """Record one event; returns once it is on disk. All attempts carry the same idempotency key.

        With a key of your own you can repeat the call, after `Unavailable` or a crash, without a second event.
        """
        given = {} if idempotency_key is None else {"idempotency_key": idempotency_key}
        event = NewEvent(file_id, event_type, metadata, **given)
        created, response = await self._connection.send(
            "POST",
            "sync-events",
            _CREATED,
            event.body(),
            headers={"Idempotency-Key": _header(event.idempotency_key)},
            repeatable=True,
        )
        return created.model_copy(update={"replayed": response.headers.get("Idempotency-Replayed") == "true"})

    @operation
    async def create_many(self, events: Iterable[NewEvent]) -> Sequence[UUID]:
        """Record events in their order; returns their ids in the same order.

        A request has at most a thousand events and 3 MiB, and is halved when the service accepts less. Each request is
        one transaction. After an error the first batches may be recorded. Repeat the call with the same objects, or
        with the same keys: recorded events get their first id again.
        """
        ids: list[UUID] = []
        for batch in split_batches(events):
            ids += await _create_batch(self._connection, batch)
        return ids

    @operation
    async def get(self, event_id: UUID | str) -> Event:
        """One event.

        Raises:
            InvalidCall: `event_id` is not a UUID.
            NotFound: there is no such event.
        """
        return (await self._connection.get(f"sync-events/{path_id(event_id)}", EVENT))[0]

    @pages
    async def list(
        self,
        *,
        event_type: EventType | None = None,
        processed: bool | None = None,
        file_id: UUID | str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        anomaly: bool | None = None,
        state: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Events that meet all the filters, newest first, fetched page by page.

        Events recorded meanwhile are not listed. To see every event, `follow` the feed.
        """
        query = {
            "event_type": event_type,
            "processed": None if processed is None else str(processed).lower(),
            "file_id": None if file_id is None else str(file_id),
            "created_after": None if created_after is None else created_after.isoformat(),
            "created_before": None if created_before is None else created_before.isoformat(),
            "anomaly": None if anomaly is None else str(anomaly).lower(),
            "state": state,
            "limit": LIST_PAGE_EVENTS,
        }
        async for event in list_pages(self._connection, "sync-events", EVENTS, query, lambda one: -one.position):
            yield event

    @operation
    async def requeue(self, event_id: UUID | str) -> Event:
        """Return a set-aside event to the next sweep, with all its attempts again.

        Raises:
            Conflict: the event is not set aside.
        """
        return (await self._connection.send("POST", f"sync-events/{path_id(event_id)}/requeue", EVENT))[0]

    @operation
    async def requeue_matching(
        self,
        *,
        up_to_position: int,
        expected: int,
        event_ids: Sequence[UUID | str] | None = None,
        last_error: str | None = None,
        event_type: EventType | None = None,
        file_id: UUID | str | None = None,
    ) -> int:
        """Requeue all set-aside events that match, at or below the position; returns their number.

        `up_to_position` is the highest position that the caller has seen, `expected` the number seen: 1 to
        10,000. Without a filter all match.

        Raises:
            Conflict: another number matches; nothing was requeued.
        """
        given = {
            "event_ids": None if event_ids is None else [path_id(one) for one in event_ids],
            "last_error": last_error,
            "event_type": event_type,
            "file_id": None if file_id is None else path_id(file_id),
        }
        body = bulk_body(given, up_to_position, expected)
        return (await self._connection.send("POST", "sync-events/requeue", _REQUEUED, body))[0].requeued

    @operation
    async def set_aside(self) -> SetAside:
        """The set-aside events in groups by error; `next` of a group has the arguments of `requeue_matching`."""
        return (await self._connection.get("sync-events/set-aside", _SET_ASIDE))[0]


def _header(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise InvalidCall("an idempotency key is 1 to 255 visible ASCII characters")
    return key


async def _create_batch(connection: Connection, batch: Sequence[dict[str, Any]]) -> Sequence[UUID]:
    try:
        created, _ = await connection.send(
            "POST", "sync-events/batch", _CREATED_BATCH, {"events": batch}, repeatable=True
        )
    except Refused as refused:
        if refused.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE or len(batch) == 1:
            raise
        half = len(batch) // 2
        return [*await _create_batch(connection, batch[:half]), *await _create_batch(connection, batch[half:])]
    return created.event_ids
