"""Reads single events: requests that wait at the same time are served by one statement."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from app.concurrency.shutdown import CANCEL_SECONDS
from app.concurrency.task import Batcher
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.errors import Unavailable
from app.events.repository import EventRepository, EventUnknown, StoredEvent

GROUP_SIZE = 500


class _Lookup(NamedTuple):
    event_id: UUID
    result: asyncio.Future[StoredEvent]


class ReadTooLate(Unavailable):
    detail = "The database took too long to respond; try again."


class EventReader:
    """The counterpart of the ledger's group commit.

    A request that comes while a statement is under way is served by the next one, so it sees everything that was
    committed before it came.
    """

    def __init__(self, database: Database, timeout_seconds: float) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds
        self._waiting: list[_Lookup] = []
        self._under_way: list[_Lookup] = []
        self._batcher = Batcher("event-reader", self._read_group, lambda: bool(self._waiting))

    async def get(self, event_id: UUID) -> StoredEvent:
        """The event with this id.

        Raises:
            EventUnknown: when there is none.
            DatabaseUnavailable: the database cannot serve now, or its standbys have not confirmed the event.
            ReadTooLate: it took too long, the wait for an earlier statement included.
        """
        lookup = _Lookup(event_id, asyncio.get_running_loop().create_future())
        self._waiting.append(lookup)
        self._batcher.wake()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                event = await lookup.result
        except TimeoutError:
            raise ReadTooLate from None
        await self._database.watermark.reach(event.position)
        return event

    async def close(self) -> None:
        """End the statement under way, and refuse every request that still waits."""
        await self._batcher.close(CANCEL_SECONDS)
        _refuse([*self._under_way, *self._waiting], ReadTooLate())
        self._waiting = []

    async def _read_group(self) -> None:
        self._under_way, self._waiting = self._waiting[:GROUP_SIZE], self._waiting[GROUP_SIZE:]
        await self._serve([lookup for lookup in self._under_way if not lookup.result.done()])
        self._under_way = []

    async def _serve(self, group: Sequence[_Lookup]) -> None:
        """Read the events of `group` together, or one by one when one of them cannot be read."""
        try:
            await self._read(group)
        except Exception as error:  # noqa: BLE001 - every caller gets a result after any error
            if len(group) == 1 or isinstance(error, DatabaseUnavailable):
                _refuse(group, error)
                return
            for lookup in group:
                await self._serve([lookup])

    async def _read(self, group: Sequence[_Lookup]) -> None:
        if not group:
            return
        async with self._database.connection() as connection:
            events = await EventRepository(connection).list_by_ids({lookup.event_id for lookup in group})
        for event_id, result in group:
            if result.done():  # the caller has left
                continue
            event = events.get(event_id)
            if event is None:
                result.set_exception(EventUnknown())
            else:
                result.set_result(event)


def _refuse(group: Sequence[_Lookup], error: Exception) -> None:
    for lookup in group:
        if not lookup.result.done():
            lookup.result.set_exception(error)
