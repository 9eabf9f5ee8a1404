"""Reads and maintains the file states, set by set."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, case, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.sql import insert_or_update
from app.database.types import among
from app.events.models import Anomaly, EventType, SyncEvent
from app.events.repository import unprocessed_count
from app.files.models import FileState

_UNKNOWN, _DELETED, _PRESENT = "unknown", "deleted", "present"
# The state of a file after an event of these types; other types leave it unchanged.
_CONDITION_AFTER = {EventType.UPLOAD: _PRESENT, EventType.DELETE: _DELETED}
# An anomaly is an event of this type, of a file in this condition.
_ANOMALIES = {
    Anomaly.UPDATE_OF_UNKNOWN_FILE: (EventType.UPDATE, _UNKNOWN),
    Anomaly.DELETE_OF_UNKNOWN_FILE: (EventType.DELETE, _UNKNOWN),
    Anomaly.UPDATE_OF_DELETED_FILE: (EventType.UPDATE, _DELETED),
    Anomaly.DELETE_OF_DELETED_FILE: (EventType.DELETE, _DELETED),
}
_FOLLOWERS = sorted({event_type for event_type, _ in _ANOMALIES.values()})  # events that need a file to be there


class FileRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, file_id: UUID) -> tuple[FileState | None, int]:
        """The state of a file, None while none of its events is processed, and how many are unprocessed.

        One statement, so that both are of one moment.
        """
        query = (
            select(FileState, unprocessed_count(file_id))
            .select_from(select(literal(1)).subquery())
            .outerjoin(FileState, FileState.file_id == file_id)
        )
        state, unprocessed = (await self._session.execute(query)).one()
        return state, unprocessed

    async def add_events(self, positions: Sequence[int]) -> None:
        """Count the events at `positions` into the states of their files; the event of the highest position wins."""
        latest = _latest_by_file(positions)
        statement = insert_or_update(self._session, FileState).from_select(
            [column.name for column in latest.selected_columns], latest
        )
        new, old = statement.excluded, FileState
        is_newer = new.last_position > old.last_position
        await self._session.execute(
            statement.on_conflict_do_update(
                index_elements=[FileState.file_id],
                set_={
                    "revision": old.revision + new.revision,
                    "last_position": case((is_newer, new.last_position), else_=old.last_position),
                    "last_event_id": case((is_newer, new.last_event_id), else_=old.last_event_id),
                    "last_event_type": case((is_newer, new.last_event_type), else_=old.last_event_type),
                    "updated_at": case((is_newer, new.updated_at), else_=old.updated_at),
                },
            )
        )

    async def mark_anomalies(self, positions: Sequence[int]) -> None:
        """Flag updates and deletes of files that were not uploaded, or not again since they were deleted.

        What decides is the nearest earlier upload or delete of the file, processed or not, so the flag depends on the
        ledger's order alone. A processed update on the way has the result already, which keeps the way short.
        """
        event, earlier = aliased(SyncEvent), aliased(SyncEvent)
        condition_after = case(
            *((earlier.event_type == event_type, after) for event_type, after in _CONDITION_AFTER.items()),
            *((earlier.anomaly == anomaly, before) for anomaly, (_, before) in _ANOMALIES.items()),
            else_=_PRESENT,
        )
        condition_before = (
            select(condition_after)
            .where(
                earlier.file_id == event.file_id,
                earlier.position < event.position,
                earlier.event_type.in_(_CONDITION_AFTER) | earlier.processed,
            )
            .order_by(earlier.position.desc())
            .limit(1)
            .scalar_subquery()
        )
        followers = (
            select(event.position, event.event_type, func.coalesce(condition_before, _UNKNOWN).label("condition"))
            .where(among(event.position, positions), event.event_type.in_(_FOLLOWERS))
            .subquery()
        )
        anomaly = case(
            *(
                (and_(followers.c.event_type == event_type, followers.c.condition == condition), anomaly.value)
                for anomaly, (event_type, condition) in _ANOMALIES.items()
            )
        )
        await self._session.execute(
            update(SyncEvent)
            .where(SyncEvent.position == followers.c.position, followers.c.condition != _PRESENT)
            .values(anomaly=anomaly)
            .execution_options(synchronize_session=False)
        )


class FileStateHandler:
    """Projects events onto the states of their files."""

    async def handle(self, session: AsyncSession, positions: Sequence[int]) -> None:
        repository = FileRepository(session)
        await repository.add_events(positions)
        await repository.mark_anomalies(positions)


def _latest_by_file(positions: Sequence[int]) -> Select[Any]:
    """For each file: its newest event among `positions`, and the number of its events."""
    ranked = (
        select(
            SyncEvent.file_id,
            SyncEvent.id,
            SyncEvent.event_type,
            SyncEvent.position,
            SyncEvent.created_at,
            func.count().over(partition_by=SyncEvent.file_id).label("events"),
            func.row_number().over(partition_by=SyncEvent.file_id, order_by=SyncEvent.position.desc()).label("recency"),
        )
        .where(among(SyncEvent.position, positions))
        .subquery()
    )
    return select(
        ranked.c.file_id,
        ranked.c.events.label("revision"),
        ranked.c.id.label("last_event_id"),
        ranked.c.event_type.label("last_event_type"),
        ranked.c.position.label("last_position"),
        ranked.c.created_at.label("updated_at"),
    ).where(ranked.c.recency == literal(1))
