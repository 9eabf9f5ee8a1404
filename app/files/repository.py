"""Reads and maintains the file states, set by set."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, case, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.types import among
from app.events.models import EventType, SyncEvent
from app.files.models import FileState


class FileRepository:
    """File states."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, file_id: UUID) -> FileState | None:
        """The state of a file, or None while none of its events is processed."""
        return await self._session.get(FileState, file_id)

    async def add_events(self, positions: Sequence[int]) -> None:
        """Count the events at `positions` into the states of their files; the event of the highest position wins."""
        latest = _latest_by_file(positions)
        dialect = postgresql if self._session.get_bind().dialect.name == "postgresql" else sqlite
        statement = dialect.insert(FileState).from_select([column.name for column in latest.selected_columns], latest)
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
        """Flag updates and deletes whose predecessor in the ledger makes them impossible.

        The predecessor is the event of the same file with the next lower position, processed or not, so the flag
        depends on the ledger's order alone.
        """
        event, earlier = aliased(SyncEvent), aliased(SyncEvent)
        predecessor = (
            select(earlier.event_type)
            .where(earlier.file_id == event.file_id, earlier.position < event.position)
            .order_by(earlier.position.desc())
            .limit(1)
            .scalar_subquery()
        )
        followers = (
            select(event.position, event.event_type, predecessor.label("after"))
            .where(among(event.position, positions), event.event_type != EventType.UPLOAD)
            .subquery()
        )
        impossible = followers.c.after.is_(None) | (followers.c.after == EventType.DELETE)
        of_what = case((followers.c.after.is_(None), "_of_unknown_file"), else_="_of_deleted_file")
        await self._session.execute(
            update(SyncEvent)
            .where(SyncEvent.position == followers.c.position, impossible)
            .values(anomaly=followers.c.event_type + of_what)
            .execution_options(synchronize_session=False)
        )


def _latest_by_file(positions: Sequence[int]) -> Select[Any]:
    """For each file: its newest event among `positions`, and how many there are of it."""
    ranked = (
        select(
            SyncEvent,
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
