"""The ledger's promises within one process, on both databases."""

import asyncio
from itertools import pairwise
from uuid import uuid4

import pytest
import structlog
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.events.group import IdempotencyKeyReused
from app.events.ledger import CommitTooLate, LedgerBusy
from app.events.ledger_repository import LedgerRepository
from app.events.models import LedgerHead
from app.log.request_line import add_request_fields, begin_request
from app.metrics import LedgerMetrics
from tests.events.support import open_ledger, read_head, read_ledger, record
from tests.support.marks import on_sqlite
from tests.support.waiting import until

HOLD_HEAD = update(LedgerHead).values(position=LedgerHead.position)


async def test_positions_have_no_gap_and_times_never_fall(database: Database) -> None:
    ledger = open_ledger(database, group_size=7)
    records = [record() for _ in range(50)]
    receipts = await asyncio.gather(*(ledger.append([one]) for one in records))
    assert [receipt.event_id for [receipt] in receipts] == [one.id for one in records]
    events = await read_ledger(database)
    assert [event.position for event in events] == list(range(1, 51))
    assert [event.id for event in events] == [one.id for one in records]
    assert all(earlier.created_at <= later.created_at for earlier, later in pairwise(events))


async def test_callers_that_wait_together_share_a_commit(database: Database) -> None:
    ledger = open_ledger(database, group_size=500)
    await asyncio.gather(*(ledger.append([record()]) for _ in range(100)))
    times = {event.created_at for event in await read_ledger(database)}
    assert len(times) == 1


async def test_a_group_never_holds_more_events_than_its_size(database: Database) -> None:
    ledger = open_ledger(database, group_size=10)
    await asyncio.gather(*(ledger.append([record()]) for _ in range(30)), ledger.append([record() for _ in range(25)]))
    events = await read_ledger(database)
    assert len(events) == 55
    assert sorted(event.created_at for event in events)[9] < sorted(event.created_at for event in events)[10]


async def test_one_bad_event_does_not_hurt_its_neighbours(database: Database) -> None:
    ledger = open_ledger(database)
    bad = record(event_type="rename")
    good = [record() for _ in range(5)]
    answers = await asyncio.gather(
        ledger.append(good[:2]), ledger.append([record(), bad]), ledger.append(good[2:]), return_exceptions=True
    )
    assert isinstance(answers[1], IntegrityError)
    events = await read_ledger(database)
    assert [event.id for event in events] == [one.id for one in good]
    assert [event.position for event in events] == [1, 2, 3, 4, 5]
    assert await read_head(database) == 5


async def test_a_caller_that_goes_away_takes_nobody_along(database: Database) -> None:
    ledger = open_ledger(database)
    tasks = [asyncio.create_task(ledger.append([record()])) for _ in range(10)]
    await asyncio.sleep(0)  # every caller has joined the queue; the first would lead
    for task in tasks[:5]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[:5])
    written = {event.id for event in await read_ledger(database)}
    assert {receipts[0].event_id for receipts in answers[5:]} <= written  # type: ignore[index]
    assert [event.position for event in await read_ledger(database)] == list(range(1, len(written) + 1))


async def test_a_caller_cancelled_during_the_commit_leaves_it_running(database: Database) -> None:
    ledger = open_ledger(database)
    first, second = (asyncio.create_task(ledger.append([record()])) for _ in range(2))
    await asyncio.sleep(0)  # both have joined the queue
    await until(lambda: not ledger._queue)  # the writer has taken the group
    first.cancel()
    await asyncio.wait([first])
    assert len(await second) == 1
    assert len(await read_ledger(database)) == 2


async def test_concurrent_duplicates_make_one_event(database: Database) -> None:
    ledgers = [open_ledger(database) for _ in range(3)]  # each as on a replica of its own
    file_id = uuid4()
    twins = [record(file_id=file_id, metadata='{"a":1}', idempotency_key="once") for _ in range(30)]
    answers = await asyncio.gather(*(ledgers[i % 3].append([twin]) for i, twin in enumerate(twins)))
    assert len({receipt.event_id for [receipt] in answers}) == 1
    assert sum(not receipt.replayed for [receipt] in answers) == 1
    assert len(await read_ledger(database)) == await read_head(database) == 1


@pytest.mark.slow
async def test_a_large_group_of_replays_is_answered(database: Database) -> None:
    ledger = open_ledger(database, group_size=10_000, append_timeout_seconds=60)
    records = [record(idempotency_key=f"key-{number}") for number in range(2000)]
    first = await ledger.append(records)
    retried = [one._replace(id=uuid4()) for one in records]
    again = await ledger.append(retried)
    assert [receipt.event_id for receipt in again] == [receipt.event_id for receipt in first]
    assert all(receipt.replayed for receipt in again)
    assert await read_head(database) == 2000


@on_sqlite  # PostgreSQL's writers do not wait for each other
async def test_appends_take_their_turn_beside_transactions_without_a_pause(database: Database) -> None:
    ledger, done, transactions = open_ledger(database), asyncio.Event(), 0

    async def write_without_a_pause() -> None:
        nonlocal transactions
        while not done.is_set():
            async with database.transaction() as session:
                await session.execute(text("UPDATE sweep_cursor SET position = 0"))
                await asyncio.sleep(0.02)
            transactions += 1

    writer = asyncio.create_task(write_without_a_pause())
    waited: list[int] = []
    for _ in range(10):
        before = transactions
        await ledger.append([record()])
        waited.append(transactions - before)
    done.set()
    await writer
    assert max(waited) <= 2, "others were served first"


async def test_the_writer_does_not_log_as_the_request_that_started_it(database: Database) -> None:
    ledger = open_ledger(database)
    begin_request("the-first")
    with structlog.testing.capture_logs([add_request_fields]) as lines:
        answers = await asyncio.gather(
            ledger.append([record()]), ledger.append([record(event_type="rename")]), return_exceptions=True
        )
    assert isinstance(answers[1], IntegrityError)
    assert [line["event"] for line in lines] == ["group refused, writing its appends one by one"]
    assert "request_id" not in lines[0]


async def test_a_reused_key_is_refused_within_a_group_too(database: Database) -> None:
    ledger = open_ledger(database)
    answers = await asyncio.gather(
        ledger.append([record(idempotency_key="k")]),
        ledger.append([record(idempotency_key="k")]),
        ledger.append([record()]),
        return_exceptions=True,
    )
    assert isinstance(answers[1], IdempotencyKeyReused)
    assert len(await read_ledger(database)) == 2


async def test_a_refused_append_claims_no_keys(database: Database) -> None:
    ledger = open_ledger(database)
    await ledger.append([record(idempotency_key="taken")])
    wanted = record(idempotency_key="free")
    answers = await asyncio.gather(
        ledger.append([record(idempotency_key="free"), record(idempotency_key="taken")]),
        ledger.append([wanted]),
        return_exceptions=True,
    )
    assert isinstance(answers[0], IdempotencyKeyReused)
    assert answers[1][0].event_id == wanted.id  # type: ignore[index]
    assert len(await read_ledger(database)) == 2


async def test_writing_a_record_again_after_a_lost_answer_is_no_second_event(database: Database) -> None:
    one = record()
    async with database.append() as connection:
        await LedgerRepository(connection).add_events([one])
    [receipt] = await open_ledger(database).append([one])
    assert (receipt.event_id, receipt.replayed) == (one.id, False)
    assert len(await read_ledger(database)) == await read_head(database) == 1


async def test_a_full_queue_refuses_at_once(database: Database) -> None:
    metrics = LedgerMetrics()
    ledger = open_ledger(database, queue_size=3, metrics=metrics)
    waiting = [asyncio.create_task(ledger.append([record()])) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(LedgerBusy):
        await ledger.append([record()])
    assert next(iter(metrics.busy.collect())).samples[0].value == 1
    await asyncio.gather(*waiting)
    await ledger.append([record()])
    assert await read_head(database) == 4


async def test_a_commit_that_does_not_come_is_answered_in_time(database: Database) -> None:
    ledger = open_ledger(database, append_timeout_seconds=0.05)
    async with database.transaction() as session:
        await session.execute(HOLD_HEAD)
        with pytest.raises(CommitTooLate):
            await ledger.append([record()])
    await ledger.close(10)
    late = await read_head(database)
    await open_ledger(database).append([record()])
    assert await read_head(database) == late + 1


async def test_closing_waits_for_those_who_wait(database: Database) -> None:
    ledger = open_ledger(database)
    tasks = [asyncio.create_task(ledger.append([record()])) for _ in range(5)]
    await asyncio.sleep(0)
    await ledger.close(10)
    assert await read_head(database) == 5
    await asyncio.gather(*tasks)


async def test_closing_gives_up_after_its_timeout_and_answers_everybody(database: Database) -> None:
    ledger = open_ledger(database, group_size=1)
    async with database.transaction() as session:
        await session.execute(HOLD_HEAD)
        tasks = [asyncio.create_task(ledger.append([record()])) for _ in range(3)]
        await asyncio.sleep(0)
        await ledger.close(0.05)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, (CommitTooLate, DatabaseUnavailable)) for answer in answers)
