"""The client: records events, reads them, and follows the feed."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx
from pydantic import TypeAdapter

from sync_client.batch import split_batches
from sync_client.connection import Connection, OnRetry
from sync_client.cursor import CursorStore
from sync_client.errors import Refused
from sync_client.feed import Feed
from sync_client.link import next_page
from sync_client.models import Change, Created, CreatedBatch, Event, EventType, NewEvent
from sync_client.retry import RetryPolicy
from sync_client.token import Token, TokenSource

LIST_PAGE_EVENTS = 100
TIMEOUT = httpx.Timeout(15.0, connect=5.0)
FOLLOW_PATIENCE_SECONDS = 3600.0

_CREATED = TypeAdapter(Created)
_CREATED_BATCH = TypeAdapter(CreatedBatch)
_EVENT = TypeAdapter(Event)
_EVENTS = TypeAdapter(tuple[Event, ...])


class SyncClient:
    """One service, as an async context manager; any number of tasks may share it.

    `token` is a bearer token, or a callable, plain or async, that gives one: it is asked first when a token is needed,
    and again each time that the service refuses the last one. Whatever may succeed later is tried again as `policy`
    says; `on_retry(error, seconds)` is called before each further attempt.

    Every method raises, beside what it says itself:
        Unavailable: the service was out of reach or busy for too long.
        Refused: the service refuses the request; `Unauthorized`, `NotFound`, `Invalid` and others are kinds of it.
        UnexpectedAnswer: somebody else answers at this address.
    """

    def __init__(
        self,
        base_url: str,
        token: Token,
        *,
        timeout: httpx.Timeout = TIMEOUT,
        policy: RetryPolicy | None = None,
        on_retry: OnRetry = lambda _error, _seconds: None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=base_url, timeout=timeout, transport=transport)
        self._policy = policy or RetryPolicy()
        self._connection = Connection(self._http, TokenSource(token), self._policy, on_retry)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    async def create(
        self,
        file_id: UUID | str,
        event_type: EventType,
        metadata: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Created:
        """Record one event; returns once it is on disk. All attempts carry the same idempotency key.

        Give a key of your own to be able to repeat the call, after `Unavailable` or a crash, without a second event.
        """
        given = {} if idempotency_key is None else {"idempotency_key": idempotency_key}
        event = NewEvent(file_id, event_type, metadata, **given)
        headers = {"Idempotency-Key": event.idempotency_key}
        created, answered = await self._connection.post("sync-events", _CREATED, event.body(), headers)
        return created.model_copy(update={"replayed": answered.get("Idempotency-Replayed") == "true"})

    async def create_many(self, events: Iterable[NewEvent]) -> Sequence[UUID]:
        """Record events in their order; returns their ids in the same order.

        A request has at most a thousand events and 3 MiB, and is halved when the service accepts less. Each request is
        one transaction. After an error the first batches may be recorded. Repeat the call with the same objects, or
        with the same keys: what is recorded already gets its first id again.
        """
        ids: list[UUID] = []
        for batch in split_batches(events):
            ids += await self._create_batch(batch)
        return ids

    async def _create_batch(self, batch: Sequence[dict[str, Any]]) -> Sequence[UUID]:
        try:
            created, _ = await self._connection.post("sync-events/batch", _CREATED_BATCH, {"events": batch})
        except Refused as refused:
            if refused.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE or len(batch) == 1:
                raise
            half = len(batch) // 2
            return [*await self._create_batch(batch[:half]), *await self._create_batch(batch[half:])]
        return created.event_ids

    async def get(self, event_id: UUID | str) -> Event:
        """One event.

        Raises:
            ValueError: `event_id` is no UUID.
            NotFound: there is no such event.
        """
        event, _ = await self._connection.get(f"sync-events/{UUID(str(event_id))}", _EVENT)
        return event

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
    ) -> AsyncIterator[Event]:
        """Events that meet all the filters, newest first, page by page as they are asked for.

        Events recorded meanwhile are not listed. To see everything that happens, `follow` the feed.
        """
        filters = {
            "event_type": event_type,
            "processed": None if processed is None else str(processed).lower(),
            "file_id": file_id,
            "created_after": created_after and created_after.isoformat(),
            "created_before": created_before and created_before.isoformat(),
            "anomaly": None if anomaly is None else str(anomaly).lower(),
            "state": state,
        }
        given = {name: str(value) for name, value in filters.items() if value is not None}
        query: httpx.QueryParams | None = httpx.QueryParams({**given, "limit": LIST_PAGE_EVENTS})
        lowest: int | None = None
        while query is not None:
            page, headers = await self._connection.get("sync-events", _EVENTS, query)
            for event in page:
                # What is recorded between two pages pushes events that were seen to the next one.
                if lowest is None or event.position < lowest:
                    lowest = event.position
                    yield event
            query = next_page(headers)

    def follow(
        self,
        cursor: str | None = None,
        *,
        store: CursorStore | None = None,
        event_types: Sequence[EventType] = (),
        file_id: UUID | str | None = None,
    ) -> AsyncGenerator[Change, None]:
        """Every change after `cursor` (None: from the beginning, `latest`: from now on), in order, for ever.

        With a `store` it goes on where that says, and at `cursor` only the first time. What is saved is behind what was
        handed out: a change counts as done once the next one is asked for. So after a crash some changes come again, at
        most those of the last second or page, and none is left out. `Change.cursor` is where each ends: kept in one
        transaction with what the change brings about, it makes the effect exactly once.

        Outages are waited for without end, `Retry-After` for up to an hour. Close the iterator (`contextlib.aclosing`)
        to have the last cursor saved at once.

        Raises:
            ValueError: `cursor` is none.
            GapError: the feed left something out.
            CursorStoreError: the cursor cannot be loaded or saved.
            BadRequest: the cursor is not of this service or belongs to other filters.
            CursorExpired: what follows the cursor is no longer kept.
            EventsLost, a kind of it: the service has lost events that were read.
        """
        policy = replace(self._policy, endless=True, patience_seconds=FOLLOW_PATIENCE_SECONDS)
        return Feed(self._connection, policy, event_types=event_types, file_id=file_id).follow(cursor, store)
