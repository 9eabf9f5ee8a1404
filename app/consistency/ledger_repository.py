"""Reads the state of files from the ledger, as of a position."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, cast, exists, false, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.consistency.comparison import MEMBERS, Expected, Facts, FileEvent, expect, read_facts
from app.consistency.models import REPAIR_SUBJECT
from app.database.types import among, among_ids, among_pairs, database_now
from app.events.models import EventType, SweepCursor, SyncEvent
from app.files.models import FileState


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


# The state of a file after its last processed event: its id, whether it exists, the position of the event, whether
# the file is in flight, and members of the event's metadata, as JSON.
FileRow = Sequence[Any]
_FILE_ID, _EXISTS, _POSITION, _IN_FLIGHT, _FIRST_MEMBER = range(5)
_NO_FACTS = Facts()
_NOTHING, _UNPROCESSED = Expected(), Expected(in_flight=True)


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

    async def read(self, as_of: AsOf, file_ids: Collection[UUID], found: Mapping[UUID, Facts]) -> dict[UUID, Expected]:
        """The expected state of each file, as far as it can be compared with the source.

        The source must have been asked before.
        """
        members = list_members(found.values())
        rows = await self._list_rows(_select_rows(as_of, members).where(among_ids(FileState.file_id, file_ids)))
        return await self.expect(as_of, file_ids, found, members, rows)

    async def list_rows(
        self, as_of: AsOf, after: UUID | None, through: UUID | None, limit: int, members: Sequence[str]
    ) -> dict[UUID, FileRow]:
        """Files with processed events, by rising id, after `after` and up to `through`.

        One statement, hence one snapshot: an event that is processed later makes its file one in flight.
        """
        query = _select_rows(as_of, members).order_by(FileState.file_id).limit(limit)
        if after is not None:
            query = query.where(FileState.file_id > after)
        if through is not None:
            query = query.where(FileState.file_id <= through)
        return await self._list_rows(query)

    async def expect(
        self,
        as_of: AsOf,
        file_ids: Collection[UUID],
        found: Mapping[UUID, Facts],
        members: Sequence[str],
        rows: Mapping[UUID, FileRow],
    ) -> dict[UUID, Expected]:
        """The expected state of each file; `rows` are the files with processed events."""
        held = [row for one in found if (row := rows.get(one)) is not None and _is_held(row)]
        facts = await self._read_facts(as_of.position, members, held, found)
        required = await self._read_required(as_of.position, held, found)
        unprocessed = await self._list_with_events([one for one in file_ids if one not in rows])
        files = {}
        for one in file_ids:
            row = rows.get(one)
            if row is None:
                files[one] = _UNPROCESSED if one in unprocessed else _NOTHING
            else:
                _, is_present, position, in_flight, *_ = row
                files[one] = Expected(is_present, position, facts.get(one, _NO_FACTS), required.get(one, 0), in_flight)
        return files

    async def _list_rows(self, query: Select[*tuple[Any, ...]]) -> dict[UUID, FileRow]:
        return {row[_FILE_ID]: row for row in await self._session.execute(query)}

    async def _list_with_events(self, file_ids: Collection[UUID]) -> set[UUID]:
        if not file_ids:
            return set()
        query = select(SyncEvent.file_id).where(among_ids(SyncEvent.file_id, file_ids)).distinct()
        return set((await self._session.scalars(query)).all())

    async def _read_facts(
        self, position: int, members: Sequence[str], held: Sequence[FileRow], found: Mapping[UUID, Facts]
    ) -> dict[UUID, Facts]:
        """The expected values of the members that were found, from the events of each file.

        The last event carries them as a rule. Where it does not, the query looks for the newest event that does, and
        for the file's last delete.
        """
        places = dict(zip(members, count(_FIRST_MEMBER)))
        values = {name: _read_all([row[place] for row in held]) for name, place in places.items()}
        carried = [{name: values[name][n] for name in values} for n in range(len(held))]
        facts = {row[_FILE_ID]: read_facts(each) for row, each in zip(held, carried, strict=True)}
        events: dict[UUID, list[FileEvent]] = {}  # of files whose last one does not carry everything
        for member, place in places.items():
            lacking = {row[_FILE_ID]: n for n, row in enumerate(held) if row[place] is None}
            lacking = {one: n for one, n in lacking.items() if getattr(found[one], member) is not None}
            for file_id, n in lacking.items():
                of_last = {name: value for name, value in carried[n].items() if held[n][places[name]] is not None}
                events.setdefault(file_id, [FileEvent(held[n][_POSITION], EventType.UPDATE, of_last)])
            for file_id, event in await self._list_carriers(position, lacking, member) if lacking else ():
                events[file_id].append(event)
        if events:
            for file_id, last in await self._list_deletes(position, events):
                events[file_id].append(FileEvent(last, EventType.DELETE, {}))
        return facts | {file_id: expect(each) for file_id, each in events.items()}

    async def _read_required(
        self, position: int, held: Sequence[FileRow], found: Mapping[UUID, Facts]
    ) -> Mapping[UUID, int]:
        """Of the files whose source is behind their last event: the last one that is not a compensation."""
        behind = [one for one, _, last, *_ in held if (at := found[one].position) is not None and at < last]
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

    async def list_compensations(self, keys: Sequence[str]) -> dict[str, int]:
        """The positions of the compensations with these idempotency keys, by key."""
        pairs = among_pairs((SyncEvent.created_by, SyncEvent.idempotency_key), [(REPAIR_SUBJECT, key) for key in keys])
        query = select(SyncEvent.idempotency_key, SyncEvent.position).where(pairs)
        return {key: position for key, position in await self._session.execute(query) if key is not None}

    async def has_later_event(self, file_id: UUID, position: int, but: Collection[str]) -> bool:
        """Whether the file has an event after `position`, processed or not; compensations with the keys `but` aside."""
        is_other = or_(SyncEvent.created_by != REPAIR_SUBJECT, SyncEvent.idempotency_key.not_in(but))
        later = exists().where(SyncEvent.file_id == file_id, SyncEvent.position > position, is_other)
        return bool(await self._session.scalar(select(later)))

    async def list_last_positions(self, file_ids: Collection[UUID]) -> dict[UUID, int]:
        """The position of the last processed event of each of the files that has one."""
        query = select(FileState.file_id, FileState.last_position).where(among_ids(FileState.file_id, file_ids))
        return {file_id: last for file_id, last in await self._session.execute(query)}  # noqa: C416

    async def _list_carriers(
        self, position: int, file_ids: Collection[UUID], member: str
    ) -> list[tuple[UUID, FileEvent]]:
        value = _member(member)
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


def list_members(found: Collection[Facts]) -> list[str]:
    """The members of the metadata to compare with the found values."""
    return [name for name in MEMBERS if any(getattr(facts, name) is not None for facts in found)]


def equal_files(
    rows: Mapping[UUID, FileRow], found: Mapping[UUID, Mapping[str, Any]], members: Sequence[str]
) -> set[UUID]:
    """The files whose last event carries each of the members that the source gives, as the same JSON: as a rule, all.

    Such values do not differ: if they are no size, hash or list of blocks, they are not compared.
    """
    held = [(row, found[row[_FILE_ID]]) for row in rows.values() if _is_held(row) and row[_FILE_ID] in found]
    behind = [row for row, item in held if (at := item.get("position")) is not None and not _is_reached(row, at)]
    other = {row[_FILE_ID] for row in behind}
    for place, name in enumerate(members, _FIRST_MEMBER):
        values = _read_all([row[place] for row, _ in held])
        pairs = zip(held, values, strict=True)
        differing = [row for (row, item), ours in pairs if (their := item.get(name)) is not None and their != ours]
        other |= {row[_FILE_ID] for row in differing}
    return {row[_FILE_ID] for row, _ in held} - other


def _is_held(row: FileRow) -> bool:
    return bool(row[_EXISTS] and not row[_IN_FLIGHT])


def _is_reached(row: FileRow, at: Any) -> bool:
    return isinstance(at, int) and bool(at >= row[_POSITION])


def _select_rows(as_of: AsOf, members: Sequence[str]) -> Select[*tuple[Any, ...]]:
    event = aliased(SyncEvent)
    in_flight: list[ColumnElement[bool]] = [
        exists().where(event.file_id == FileState.file_id, event.position > as_of.position),
        exists().where(event.file_id == FileState.file_id, event.retry_state.is_not(None)),
    ]
    if as_of.settled_before is not None:
        in_flight.append(FileState.updated_at > as_of.settled_before)
    is_present = FileState.last_event_type != EventType.DELETE
    columns = FileState.file_id, is_present, FileState.last_position, or_(*in_flight)
    query = select(*columns, *(_member(one) for one in members))
    return query.join(SyncEvent, SyncEvent.position == FileState.last_position) if members else query


def _read_all(texts: Sequence[str | None]) -> list[Any]:
    """The values of JSON texts, null for None; one call for all costs a fraction."""
    values: list[Any] = json.loads(f"[{','.join('null' if text is None else text for text in texts)}]")
    return values


def _member(name: str) -> ColumnElement[str | None]:
    """One member of an event's metadata as JSON, so that only this leaves the database."""
    # The operator is the same on both databases.
    return cast(SyncEvent.event_metadata.op("->")(literal_column(f"'{name}'")), Text)
