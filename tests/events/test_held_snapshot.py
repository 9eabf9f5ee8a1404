"""While somebody holds an old snapshot, every append leaves a version of the head's row behind."""

from uuid import uuid4

from sqlalchemy import text

from app.database.engine import Database
from app.events.listing import EventList
from app.events.search import EVERYTHING
from app.operations.repository import StatusRepository
from app.sweep.repository import SweepRepository
from tests.database.test_query_plans import QUERIES, plan_of
from tests.events.support import add_events
from tests.support.marks import on_postgresql

pytestmark = on_postgresql

VERSIONS = 4_000
RAISE_HEAD = f"""
    DO $$
    DECLARE newest tid := (SELECT ctid FROM ledger_head);
    BEGIN
        PERFORM set_config('synchronous_commit', 'off', false);
        FOR version IN 1..{VERSIONS} LOOP
            UPDATE ledger_head SET created_at = clock_timestamp() WHERE ctid = newest RETURNING ctid INTO newest;
            COMMIT;
        END LOOP;
        PERFORM set_config('synchronous_commit', 'on', false);
    END $$
"""  # noqa: S608 - a constant
READERS = {
    **{name: QUERIES[name] for name in ("head of the feed", "has work", "ahead", "first page")},
    "deep page": lambda session: EventList(session).newest(EVERYTHING, limit=1, offset=1),
    "read ahead": lambda session: SweepRepository(session).read_ahead(),
}


async def test_appends_and_reads_with_many_versions_of_the_head(database: Database) -> None:
    """A scan of the table would visit every version; the index on `position` has one entry for each event."""
    await add_events(database, (uuid4(), "upload"))
    async with database.connection() as holder, database.connection() as connection:
        await holder.execute(text("BEGIN ISOLATION LEVEL REPEATABLE READ"))
        await holder.execute(text("SELECT count(*) FROM ledger_head"))
        await connection.execute(text(RAISE_HEAD))
        await add_events(database, (uuid4(), "upload"))
        append = await plan_of(database, QUERIES["append"])
        reads = {name: await plan_of(database, query) for name, query in READERS.items()}
        assert (await StatusRepository(connection).get_status()).position == 3, "two, and that of the plan"
        await holder.execute(text("ROLLBACK"))
    assert "Index Scan using pk_ledger_head on ledger_head" in append, append
    for name, plan in reads.items():
        assert "Seq Scan on ledger_head" not in plan, f"{name}:\n{plan}"
