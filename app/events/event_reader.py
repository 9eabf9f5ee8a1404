"""Reads single events: requests that wait at the same time are served by one statement."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from app.concurrency.batcher import Batcher
from app.concurrency.shutdown import CANCEL_SECONDS
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.errors import NotFound, Unavailable
from app.events.repository import EventRepository, EventRow

GROUP_SIZE = 500


class _Question(NamedTuple):
    event_id: UUID
    answer: asyncio.Future[EventRow]


class ReadTooLate(Unavailable):
    """503."""

    detail = "The database took too long to answer; try again."


class EventReader:
    """The counterpart of the ledger's group commit.

    A request that comes while a statement is under way is served by the next one, so it sees everything that was
    committed before it came.
    """

    def __init__(self, database: Database, timeout_seconds: float) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds
        self._waiting: list[_Question] = []
        self._batcher = Batcher("event-reader", self._read_group, lambda: bool(self._waiting))

    async def get(self, event_id: UUID) -> EventRow:
        """The event with this id.

        Raises:
            NotFound: when there is none.
            DatabaseUnavailable: the database cannot serve now, or its standbys have not confirmed the event.
            ReadTooLate: it took too long, the wait for an earlier statement included.
        """
        question = _Question(event_id, asyncio.get_running_loop().create_future())
        self._waiting.append(question)
        self._batcher.wake()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                event = await question.answer
        except TimeoutError:
            raise ReadTooLate from None
        await self._database.watermark.reach(event.position)
        return event

    async def close(self) -> None:
        """End the statement under way, and refuse every request that still waits."""
        await self._batcher.close(CANCEL_SECONDS)
        _refuse(self._waiting, ReadTooLate())
        self._waiting = []

    async def _read_group(self) -> None:
        group, self._waiting = self._waiting[:GROUP_SIZE], self._waiting[GROUP_SIZE:]
        await self._answer([question for question in group if not question.answer.done()])

    async def _answer(self, group: Sequence[_Question]) -> None:
        """Read what `group` asks for together, or one by one when something in it cannot be read."""
        try:
            await self._read(group)
        except asyncio.CancelledError:
            _refuse(group, ReadTooLate())
            raise
        except DatabaseUnavailable as error:
            _refuse(group, error)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, everybody gets an answer
            if len(group) == 1:
                _refuse(group, error)
            else:
                for question in group:
                    await self._answer([question])

    async def _read(self, group: Sequence[_Question]) -> None:
        if not group:
            return
        async with self._database.connection() as connection:
            events = await EventRepository(connection).list_by_ids({question.event_id for question in group})
        for event_id, answer in group:
            if answer.done():  # the caller has gone away meanwhile
                continue
            event = events.get(event_id)
            if event is None:
                answer.set_exception(NotFound("There is no event with this id."))
            else:
                answer.set_result(event)


def _refuse(group: Sequence[_Question], error: Exception) -> None:
    for question in group:
        if not question.answer.done():
            question.answer.set_exception(error)
