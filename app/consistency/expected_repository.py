"""Reads the expected state of files from the ledger, as of a position."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, and_, case, cast, exists, false, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.consistency.comparison import MEMBERS, Expected, Facts, read_facts
from app.consistency.models import REPAIR_SUBJECT
from app.database.types import among, among_ids
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


class ExpectedRepository:
    """Each call is a few statements, each a snapshot of its own: see `read`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

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

    async def list_file_ids(self, after: UUID | None, limit: int, *, with_deleted: bool) -> Sequence[UUID]:
        """Files with processed events, by rising id, after `after`."""
        query = select(FileState.file_id).where(*within(FileState.file_id, after)).order_by(FileState.file_id)
        if not with_deleted:
            query = query.where(FileState.last_event_type != EventType.DELETE)
        return (await self._session.scalars(query.limit(limit))).all()

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
        query = _select_rows(as_of, members).where(*within(FileState.file_id, after, through))
        return await self._list_rows(query.order_by(FileState.file_id).limit(limit))

    async def expect(
        self,
        as_of: AsOf,
        file_ids: Collection[UUID],
        found: Mapping[UUID, Facts],
        members: Sequence[str],
        rows: Mapping[UUID, FileRow],
    ) -> dict[UUID, Expected]:
        """The expected state of each file; `rows` are the files with processed events."""
        held = {one: row for one in found if (row := rows.get(one)) is not None and _is_held(row)}
        facts, required = await self._read_facts(as_of.position, members, held, found)
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
        self, position: int, members: Sequence[str], held: Mapping[UUID, FileRow], found: Mapping[UUID, Facts]
    ) -> tuple[dict[UUID, Facts], dict[UUID, int]]:
        """The expected values of what was found, and the position that a source must have applied.

        Usually the last event has all values and the source has applied it. For other files the older events are read.
        """
        carried: dict[UUID, dict[str, Any]] = {one: {} for one in held}
        lacking: set[tuple[UUID, str]] = set()
        for file_id, row in held.items():
            for place, name in enumerate(members, _FIRST_MEMBER):
                if row[place] is not None:
                    carried[file_id][name] = json.loads(row[place])
                elif getattr(found[file_id], name) is not None:
                    lacking.add((file_id, name))
        behind = {one for one, row in held.items() if (at := found[one].position) is not None and at < row[_POSITION]}
        required: dict[UUID, int] = {}
        if lacking or behind:
            carriers, required = await self._list_history(position, behind | {one for one, _ in lacking}, lacking)
            for (file_id, name), text in carriers.items():
                carried[file_id][name] = json.loads(text)
        return {one: read_facts(values) for one, values in carried.items()}, required

    async def _list_history(
        self, position: int, file_ids: Collection[UUID], lacking: Collection[tuple[UUID, str]]
    ) -> tuple[dict[tuple[UUID, str], str], dict[UUID, int]]:
        """The values that are `lacking`, each from the newest upload or update that carries it after the last delete.

        And the position of the last event of each file that is not a compensation.
        """
        names = sorted({name for _, name in lacking})
        is_delete = SyncEvent.event_type == EventType.DELETE
        last = [_last(SyncEvent.created_by != REPAIR_SUBJECT), _last(is_delete)]
        last += [_last(and_(~is_delete, _member(name).is_not(None))) for name in names]
        query = (
            select(SyncEvent.file_id, *last)
            .where(among_ids(SyncEvent.file_id, file_ids), SyncEvent.position <= position, SyncEvent.processed)
            .group_by(SyncEvent.file_id)
        )
        required: dict[UUID, int] = {}
        places: dict[tuple[UUID, str], int] = {}  # where each value is
        for file_id, own, deleted, *carriers in await self._session.execute(query):
            required[file_id] = own or 0
            of_file = zip(names, carriers, strict=True)
            places |= {(file_id, name): at for name, at in of_file if at is not None and at > (deleted or 0)}
        places = {key: at for key, at in places.items() if key in lacking}
        if not places:
            return {}, required
        values = select(SyncEvent.position, *map(_member, names)).where(among(SyncEvent.position, [*places.values()]))
        texts = {at: dict(zip(names, each, strict=True)) for at, *each in await self._session.execute(values)}
        return {(file_id, name): texts[at][name] for (file_id, name), at in places.items()}, required


def within(
    column: InstrumentedAttribute[UUID], after: UUID | None, through: UUID | None = None
) -> list[ColumnElement[bool]]:
    """The conditions that `column` lies after `after` and up to `through`; None: without that bound."""
    return [
        *([column > after] if after is not None else []),
        *([column <= through] if through is not None else []),
    ]


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


def _last(condition: ColumnElement[bool]) -> ColumnElement[int | None]:
    """The position of the last event that meets `condition`."""
    return func.max(case((condition, SyncEvent.position)))


def _read_all(texts: Sequence[str | None]) -> list[Any]:
    """The values of JSON texts, null for None; one call for all costs a fraction."""
    values: list[Any] = json.loads(f"[{','.join('null' if text is None else text for text in texts)}]")
    return values


def _member(name: str) -> ColumnElement[str | None]:
    """One member of an event's metadata as JSON, so that only this leaves the database."""
    # The operator is the same on both databases.
    return cast(SyncEvent.event_metadata.op("->")(literal_column(f"'{name}'")), Text)
