"""Reads what the ledger says of files, as of a position."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Text, cast, exists, false, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.consistency.comparison import Expected, Facts, FileEvent, expect
from app.consistency.models import REPAIR_SUBJECT
from app.database.types import among, among_ids, among_pairs, database_now
from app.events.models import EventType, SweepCursor, SyncEvent
from app.files.models import FileState

MEMBERS = ("size", "sha256", "blocks")  # of the metadata, that are compared


class AsOf(NamedTuple):
    """The moment of a comparison: events after `position` are not compared.

    A source without a watermark has seen everything `settled_before`; of files with a later event nothing is known.
    """

    position: int
    settled_before: datetime | None

    @classmethod
    def of(cls, position: int, watermark: int | None, now: datetime, grace: timedelta) -> "AsOf":
        """As of the sweep at `position` and a source's `watermark`, None without one."""
        return cls(position, now - grace) if watermark is None else cls(min(position, watermark), None)


class LedgerFile(NamedTuple):
    """What the ledger says of one file; nothing is compared while it is `in_flight`."""

    expected: Expected
    in_flight: bool


class LedgerRepository:
    """Each call is a few statements, each a snapshot of its own: see `read`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get_now(self) -> datetime:
        """The database's clock."""
        return (await self._session.execute(select(database_now()))).scalar_one()

    async def get_position(self, durable: int | None) -> int:
        """Every event up to it is processed or has a retry state, and a failover cannot remove it."""
        cursor = (await self._session.execute(select(SweepCursor.position))).scalar_one()
        return cursor if durable is None else min(cursor, durable)

    async def list_present(self, file_ids: Collection[UUID]) -> set[UUID]:
        """Those of the files that should exist."""
        query = select(FileState.file_id).where(
            among_ids(FileState.file_id, file_ids), FileState.last_event_type != EventType.DELETE
        )
        return set((await self._session.scalars(query)).all())

    async def list_file_ids(
        self, after: UUID | None, through: UUID | None, limit: int, *, with_deleted: bool = True
    ) -> Sequence[UUID]:
        """Files with processed events, by rising id, after `after` and up to `through`."""
        query = select(FileState.file_id).order_by(FileState.file_id).limit(limit)
        if after is not None:
            query = query.where(FileState.file_id > after)
        if through is not None:
            query = query.where(FileState.file_id <= through)
        if not with_deleted:
            query = query.where(FileState.last_event_type != EventType.DELETE)
        return (await self._session.scalars(query)).all()

    async def is_known(self, file_id: UUID) -> bool:
        """Whether any event names the file."""
        return bool(await self._session.scalar(select(exists().where(SyncEvent.file_id == file_id))))

    async def was_settled(
        self, file_id: UUID, position: int, processed_before: datetime, created_before: datetime | None
    ) -> bool:
        """Whether every event of the file is at or below `position`, was processed in time and is old enough."""
        young = SyncEvent.created_at > created_before if created_before is not None else false()
        late = or_(SyncEvent.processed_at.is_(None), SyncEvent.processed_at > processed_before)
        other = exists().where(SyncEvent.file_id == file_id, or_(SyncEvent.position > position, late, young))
        return not await self._session.scalar(select(other))

    async def read(
        self, as_of: AsOf, file_ids: Collection[UUID], found: Mapping[UUID, Facts]
    ) -> dict[UUID, LedgerFile]:
        """What is expected of each of the files, as far as it can be compared with what the source holds.

        Events in retry are looked for first, and events after the position last: an event that is processed between the
        statements is met by one of them. The source must have been asked before.
        """
        in_flight = await self._list_retried(file_ids)
        states = await self._list_states(file_ids)
        present = {one for one, state in states.items() if state.last_event_type != EventType.DELETE}
        held = {one: facts for one, facts in found.items() if one in present}
        facts = await self._read_facts(as_of.position, held)
        required = await self._read_required(as_of.position, held, states)
        in_flight |= await self._list_later(file_ids, as_of)
        files: dict[UUID, LedgerFile] = {}
        for file_id in file_ids:
            state = states.get(file_id)
            if state is None:
                files[file_id] = LedgerFile(Expected(), file_id in in_flight)
                continue
            exists_ = state.last_event_type != EventType.DELETE
            expected = Expected(exists_, state.last_position, expect(facts.get(file_id, ())), required.get(file_id, 0))
            young = as_of.settled_before is not None and state.updated_at > as_of.settled_before
            files[file_id] = LedgerFile(expected, young or file_id in in_flight)
        return files

    async def _list_states(self, file_ids: Collection[UUID]) -> dict[UUID, FileState]:
        rows = await self._session.scalars(select(FileState).where(among_ids(FileState.file_id, file_ids)))
        return {state.file_id: state for state in rows}

    async def _list_retried(self, file_ids: Collection[UUID]) -> set[UUID]:
        query = select(SyncEvent.file_id).where(
            among_ids(SyncEvent.file_id, file_ids), SyncEvent.retry_state.is_not(None)
        )
        return set((await self._session.scalars(query.distinct())).all())

    async def _list_later(self, file_ids: Collection[UUID], as_of: AsOf) -> set[UUID]:
        query = select(SyncEvent.file_id).where(
            among_ids(SyncEvent.file_id, file_ids), SyncEvent.position > as_of.position
        )
        return set((await self._session.scalars(query.distinct())).all())

    async def _read_facts(self, position: int, found: Mapping[UUID, Facts]) -> Mapping[UUID, Iterable[FileEvent]]:
        """The newest processed event of each file that carries each member that was found, and its last delete."""
        events: defaultdict[UUID, list[FileEvent]] = defaultdict(list)
        for member in MEMBERS:
            file_ids = [one for one, facts in found.items() if getattr(facts, member) is not None]
            if file_ids:
                for file_id, event in await self._list_carriers(position, file_ids, member):
                    events[file_id].append(event)
        if events:
            for file_id, last in await self._list_deletes(position, events.keys()):
                events[file_id].append(FileEvent(last, EventType.DELETE, {}))
        return events

    async def _read_required(
        self, position: int, found: Mapping[UUID, Facts], states: Mapping[UUID, FileState]
    ) -> Mapping[UUID, int]:
        """Of the files whose source is behind their last event: the last one that is not a compensation."""
        behind = [
            one
            for one, facts in found.items()
            if facts.position is not None and facts.position < states[one].last_position
        ]
        if not behind:
            return {}
        query = (
            select(SyncEvent.file_id, func.max(SyncEvent.position))
            .where(
                among_ids(SyncEvent.file_id, behind),
                SyncEvent.position <= position,
                SyncEvent.processed,
                SyncEvent.created_by != REPAIR_SUBJECT,
            )
            .group_by(SyncEvent.file_id)
        )
        return {file_id: last for file_id, last in await self._session.execute(query)}  # noqa: C416

    async def list_compensations(self, keys: Sequence[str]) -> set[str]:
        """Those of these idempotency keys that compensations have."""
        pairs = among_pairs((SyncEvent.created_by, SyncEvent.idempotency_key), [(REPAIR_SUBJECT, key) for key in keys])
        recorded = await self._session.scalars(select(SyncEvent.idempotency_key).where(pairs))
        return {key for key in recorded if key is not None}

    async def has_later_event(self, file_id: UUID, position: int, but: Collection[str]) -> bool:
        """Whether the file has an event after `position`, processed or not; compensations with the keys `but` aside."""
        is_other = or_(SyncEvent.created_by != REPAIR_SUBJECT, SyncEvent.idempotency_key.not_in(but))
        later = exists().where(SyncEvent.file_id == file_id, SyncEvent.position > position, is_other)
        return bool(await self._session.scalar(select(later)))

    async def list_last_positions(self, file_ids: Collection[UUID]) -> dict[UUID, int]:
        """The position of the last processed event of each of the files that has one."""
        return {one: state.last_position for one, state in (await self._list_states(file_ids)).items()}

    async def _list_carriers(
        self, position: int, file_ids: Collection[UUID], member: str
    ) -> list[tuple[UUID, FileEvent]]:
        # The operator is the same on both databases; only this member of the metadata leaves the database.
        value = cast(SyncEvent.event_metadata.op("->")(literal_column(f"'{member}'")), Text)
        newest = (
            select(func.max(SyncEvent.position))
            .where(
                among_ids(SyncEvent.file_id, file_ids),
                SyncEvent.position <= position,
                SyncEvent.processed,
                SyncEvent.event_type != EventType.DELETE,
                value.is_not(None),
            )
            .group_by(SyncEvent.file_id)
        )
        positions = (await self._session.scalars(newest)).all()
        query = select(SyncEvent.file_id, SyncEvent.position, SyncEvent.event_type, value)
        rows: Iterable[Any] = await self._session.execute(query.where(among(SyncEvent.position, positions)))
        return [(file_id, FileEvent(at, type_, {member: json.loads(text)})) for file_id, at, type_, text in rows]

    async def _list_deletes(self, position: int, file_ids: Collection[UUID]) -> Sequence[tuple[UUID, int]]:
        query = (
            select(SyncEvent.file_id, func.max(SyncEvent.position))
            .where(
                among_ids(SyncEvent.file_id, file_ids),
                SyncEvent.position <= position,
                SyncEvent.processed,
                SyncEvent.event_type == EventType.DELETE,
            )
            .group_by(SyncEvent.file_id)
        )
        return [(file_id, last) for file_id, last in await self._session.execute(query)]
