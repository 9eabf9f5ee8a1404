"""Writes to the ledger, each one transaction on the connection it is given."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Text, Uuid, bindparam, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.types import among_ids, among_pairs, database_now, latest
from app.events.group import EventRecord, encode_metadata
from app.events.models import LedgerHead, SyncEvent

# One statement, one round trip, one transaction: a client that stalls cannot hold the head's lock. It returns one
# row whatever the number of events, so that the response never waits for the client to read it.
_APPEND_POSTGRESQL = text(
    """
    WITH head AS (
        UPDATE ledger_head
           SET position = position + cardinality(CAST(:ids AS uuid[])),
               created_at = greatest(created_at, clock_timestamp())
         WHERE id = 1
        RETURNING position - cardinality(CAST(:ids AS uuid[])) AS base, created_at
    ), appended AS (
        INSERT INTO sync_events
               (id, position, file_id, event_type, created_at, metadata, created_by, idempotency_key)
        SELECT event.id, head.base + event.ordinal, event.file_id, event.event_type, head.created_at,
               CAST(event.metadata AS json), event.created_by, event.idempotency_key
          FROM head,
               unnest(CAST(:ids AS uuid[]), CAST(:file_ids AS uuid[]), CAST(:event_types AS text[]),
                      CAST(:metadata AS text[]), CAST(:created_by AS text[]), CAST(:idempotency_keys AS text[]))
               WITH ORDINALITY AS event
               (id, file_id, event_type, metadata, created_by, idempotency_key, ordinal)
    )
    SELECT base FROM head
    """
).bindparams(
    *(bindparam(name, type_=ARRAY(Uuid())) for name in ("ids", "file_ids")),
    *(bindparam(name, type_=ARRAY(Text())) for name in ("event_types", "metadata", "created_by", "idempotency_keys")),
)


class LedgerRepository:
    """The ledger's statements, on a connection from `Database.append`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add_events(self, records: Sequence[EventRecord]) -> int:
        """Append `records` in their order and return the position before the first of them.

        Raises:
            sqlalchemy.exc.IntegrityError: when an id or a scoped key is already in the ledger; nothing is written.
        """
        if self._connection.dialect.name == "postgresql":
            return await self._add_in_one_statement(records)
        return await self._add_in_transaction(records)

    async def _add_in_one_statement(self, records: Sequence[EventRecord]) -> int:
        parameters = {
            "ids": [record.id for record in records],
            "file_ids": [record.file_id for record in records],
            "event_types": [record.event_type for record in records],
            "metadata": [record.metadata for record in records],
            "created_by": [record.created_by for record in records],
            "idempotency_keys": [record.idempotency_key for record in records],
        }
        base: int = (await self._connection.execute(_APPEND_POSTGRESQL, parameters)).scalar_one()
        return base

    async def _add_in_transaction(self, records: Sequence[EventRecord]) -> int:
        raised = (
            update(LedgerHead)
            .where(LedgerHead.id == 1)
            .values(
                position=LedgerHead.position + len(records),
                created_at=latest(LedgerHead.created_at, database_now()),
            )
            .returning(LedgerHead.position, LedgerHead.created_at)
        )
        last, created_at = (await self._connection.execute(raised)).one()
        base: int = last - len(records)
        rows: list[dict[str, Any]] = [
            {
                "id": record.id,
                "position": base + ordinal,
                "file_id": record.file_id,
                "event_type": record.event_type,
                "created_at": created_at,
                "metadata_text": record.metadata,
                "created_by": record.created_by,
                "idempotency_key": record.idempotency_key,
            }
            for ordinal, record in enumerate(records, start=1)
        ]
        # The text is JSON already; bound as text it is stored as it is.
        statement = insert(SyncEvent).values(event_metadata=bindparam("metadata_text", type_=Text()))
        await self._connection.execute(statement, rows)
        return base

    async def list_known(self, records: Sequence[EventRecord]) -> tuple[list[EventRecord], int]:
        """What the ledger holds under the ids and the scoped keys of `records`, and the highest position of it."""
        keyed = [record for record in records if record.idempotency_key is not None]
        query = select(
            SyncEvent.id,
            SyncEvent.file_id,
            SyncEvent.event_type,
            SyncEvent.event_metadata,
            SyncEvent.created_by,
            SyncEvent.idempotency_key,
            SyncEvent.position,
        )
        by_id = query.where(among_ids(SyncEvent.id, [record.id for record in records]))
        by_key = query.where(
            among_pairs(
                (SyncEvent.created_by, SyncEvent.idempotency_key),
                [(record.created_by, str(record.idempotency_key)) for record in keyed],
            )
        )
        rows = [*(await self._connection.execute(by_id)), *(await self._connection.execute(by_key))]
        known = [
            EventRecord(id_, file_id, event_type, None if metadata is None else encode_metadata(metadata), by, key)
            for id_, file_id, event_type, metadata, by, key, _ in rows
        ]
        return known, max((row.position for row in rows), default=0)
