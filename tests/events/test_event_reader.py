"""Single events that are asked for at the same time are read together."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Connection, event

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.errors import NotFound
from app.events import event_reader
from app.events.event_reader import EventReader, ReadTooLate
from tests.conftest import MakeSettings
from tests.events.support import add_events
from tests.support.waiting import until


def count_statements(database: Database) -> list[str]:
    """Every statement from here on."""
    statements: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def _note(_connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    return statements


async def test_everybody_gets_the_event_that_was_asked_for(database: Database) -> None:
    ids = await add_events(database, *((uuid4(), "upload") for _ in range(50)))
    reader = EventReader(database, 10)
    events = await asyncio.gather(*(reader.get(event_id) for event_id in [*ids, *ids]))
    assert [one.id for one in events] == [*ids, *ids]


async def test_those_who_wait_together_share_a_statement(database: Database) -> None:
    ids = await add_events(database, *((uuid4(), "upload") for _ in range(50)))
    statements = count_statements(database)
    reader = EventReader(database, 10)
    await asyncio.gather(*(reader.get(event_id) for event_id in ids))
    assert len([statement for statement in statements if "sync_events" in statement]) == 1


async def test_a_group_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_reader, "GROUP_SIZE", 10)
    ids = await add_events(database, *((uuid4(), "upload") for _ in range(25)))
    statements = count_statements(database)
    reader = EventReader(database, 10)
    await asyncio.gather(*(reader.get(event_id) for event_id in ids))
    assert len([statement for statement in statements if "sync_events" in statement]) == 3


async def test_an_unknown_id_hurts_nobody_else(database: Database) -> None:
    [known] = await add_events(database, (uuid4(), "upload"))
    reader = EventReader(database, 10)
    found, missing = await asyncio.gather(reader.get(known), reader.get(uuid4()), return_exceptions=True)
    assert not isinstance(found, BaseException)
    assert found.id == known
    assert isinstance(missing, NotFound)


async def test_a_caller_who_leaves_hurts_nobody_else(database: Database) -> None:
    ids = await add_events(database, *((uuid4(), "upload") for _ in range(3)))
    reader = EventReader(database, 10)
    callers = [asyncio.create_task(reader.get(event_id)) for event_id in ids]
    await asyncio.sleep(0)
    callers[1].cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert [answer.id for answer in (answers[0], answers[2]) if not isinstance(answer, BaseException)] == ids[::2]


async def test_what_was_committed_before_is_seen(database: Database) -> None:
    reader = EventReader(database, 10)
    for _ in range(20):
        [event_id] = await add_events(database, (uuid4(), "upload"))
        assert (await reader.get(event_id)).id == event_id


async def test_a_database_that_is_away_is_told_to_everybody(make_settings: MakeSettings) -> None:
    database = Database(make_settings(database_url="postgresql://nobody@127.0.0.1:1/none"))
    reader = EventReader(database, 10)
    answers = await asyncio.gather(*(reader.get(uuid4()) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 3
    await database.close()


class Broken(EventReader):
    """Cannot read one of the events."""

    def __init__(self, database: Database, bad: Any) -> None:
        super().__init__(database, 10)
        self._bad = bad

    async def _read(self, group: Any) -> None:
        if self._bad in {question.event_id for question in group}:
            raise ValueError("a row that cannot be loaded")
        await super()._read(group)


async def test_an_event_that_can_not_be_read_hurts_nobody_else(database: Database) -> None:
    ids = await add_events(database, *((uuid4(), "upload") for _ in range(5)))
    reader = Broken(database, ids[2])
    answers = await asyncio.gather(*(reader.get(one) for one in ids), return_exceptions=True)
    assert [type(answer) is ValueError for answer in answers] == [False, False, True, False, False]


class Hanging(EventReader):
    """Never gets an answer."""

    async def _read(self, group: Any) -> None:
        await asyncio.Event().wait()


@pytest.mark.slow
async def test_nobody_waits_longer_than_a_statement_may_take(database: Database) -> None:
    reader = Hanging(database, 0.1)
    first = asyncio.create_task(reader.get(uuid4()))
    await asyncio.sleep(0)
    for answer in await asyncio.gather(first, reader.get(uuid4()), return_exceptions=True):
        assert isinstance(answer, ReadTooLate)
    await reader.close()


async def test_closing_refuses_every_request_that_waits(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_reader, "CANCEL_SECONDS", 0.05)
    reader = Hanging(database, 60)
    callers = [asyncio.create_task(reader.get(uuid4()))]
    await asyncio.sleep(0)
    callers.append(asyncio.create_task(reader.get(uuid4())))
    await asyncio.sleep(0)
    await reader.close()
    for answer in await asyncio.gather(*callers, return_exceptions=True):
        assert isinstance(answer, ReadTooLate)


async def test_closing_leaves_no_statement_behind(database: Database) -> None:
    [event_id] = await add_events(database, (uuid4(), "upload"))
    reader = EventReader(database, 10)
    caller = asyncio.create_task(reader.get(event_id))
    await asyncio.sleep(0)
    caller.cancel()
    await reader.close()
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == "event-reader"], 1)
    await reader.close()


async def test_the_route_answers_many_at_once(client: httpx.AsyncClient, database: Database) -> None:
    ids = await add_events(database, *((uuid4(), "upload") for _ in range(30)))
    answers = await asyncio.gather(*(client.get(f"/sync-events/{event_id}") for event_id in [*ids, uuid4()]))
    assert [answer.status_code for answer in answers] == [200] * 30 + [404]
    assert [answer.json()["event_id"] for answer in answers[:-1]] == [str(event_id) for event_id in ids]
