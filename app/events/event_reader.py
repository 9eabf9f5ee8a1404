"""Reads single events: requests that wait at the same time are served by one statement."""

import asyncio
from contextvars import Context
from typing import NamedTuple
from uuid import UUID

from app.database.engine import Database
from app.ending import CANCEL_SECONDS, wait_or_cancel
from app.errors import NotFound
from app.events.repository import EventRepository, EventRow

GROUP_SIZE = 500


class _Question(NamedTuple):
    event_id: UUID
    answer: asyncio.Future[EventRow]


class EventReader:
    """The counterpart of the ledger's group commit.

    A request that comes while a statement is under way is served by the next one, so it sees everything that was
    committed before it came.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Question] = []
        self._task: asyncio.Task[None] | None = None

    async def get(self, event_id: UUID) -> EventRow:
        """The event with this id.

        Raises:
            NotFound: when there is none.
            DatabaseUnavailable: the database can not serve now.
        """
        question = _Question(event_id, asyncio.get_running_loop().create_future())
        self._waiting.append(question)
        if self._task is None:
            # A context of its own: it serves many requests, so its log lines must not carry the first one's id.
            self._task = asyncio.create_task(self._read_groups(), name="event-reader", context=Context())
        return await question.answer

    async def close(self) -> None:
        """Leave no statement behind; nobody waits for an answer any more."""
        if self._task is not None:
            await wait_or_cancel(self._task, CANCEL_SECONDS)

    async def _read_groups(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:GROUP_SIZE], self._waiting[GROUP_SIZE:]
                await self._answer([question for question in group if not question.answer.done()])
        finally:
            self._task = None

    async def _answer(self, group: list[_Question]) -> None:
        if not group:
            return
        try:
            async with self._database.connection() as connection:
                events = await EventRepository(connection).list_by_ids({question.event_id for question in group})
        except Exception as error:  # noqa: BLE001 - whatever went wrong, everybody gets an answer
            for question in group:
                if not question.answer.done():
                    question.answer.set_exception(error)
            return
        for event_id, answer in group:
            if answer.done():  # the caller has gone away meanwhile
                continue
            event = events.get(event_id)
            if event is None:
                answer.set_exception(NotFound("There is no event with this id."))
            else:
                answer.set_result(event)
