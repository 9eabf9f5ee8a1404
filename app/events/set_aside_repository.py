"""Groups of set-aside events by their error."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.events.models import RetryState, SyncEvent
from app.events.search import Range, Search

MAX_GROUPS = 100
MAX_GROUPED = 100_000  # events that are looked at
MAX_NEXT = 10_000  # events of one bulk request


class SetAsideGroup(NamedTuple):
    """Set-aside events with one error. The oldest `MAX_NEXT` of them are those up to `next_position`."""

    last_error: str | None
    events: int
    oldest_at: datetime
    newest_position: int
    next_position: int


class SetAsideRepository:
    """Reads set-aside events, up to the position `through` if there is one (`DurableWatermark`)."""

    def __init__(self, connection: AsyncConnection, through: int | None = None) -> None:
        self._connection = connection
        self._through = [] if through is None else [through]

    async def list_groups(self) -> tuple[Sequence[SetAsideGroup], int]:
        """The largest groups among the oldest 100,000 set-aside events, and how many of these are in others."""
        rows = (await self._connection.execute(self._groups())).all()
        groups = [SetAsideGroup._make(row[:-1]) for row in rows]
        total = int(rows[0][-1]) if rows else 0
        return groups, total - sum(group.events for group in groups)

    def _groups(self) -> Select[Any, Any, Any, Any, Any, Any]:
        of_events: Any = select(SyncEvent.position, SyncEvent.last_error, SyncEvent.created_at)
        failed = Range([(SyncEvent.retry_state, RetryState.FAILED)], SyncEvent.retry_state.is_not(None))
        search = Search([failed], through=[*self._through], newest_first=False)
        event = search.page(of_events, MAX_GROUPED, 0, MAX_GROUPED).subquery("event")
        number = func.row_number().over(partition_by=event.c.last_error, order_by=event.c.position)
        numbered = select(event, number.label("number")).subquery("numbered").c
        size = func.count()
        return (
            select(
                numbered.last_error,
                size,
                func.min(numbered.created_at),
                func.max(numbered.position),
                func.max(case((numbered.number <= MAX_NEXT, numbered.position))),
                func.sum(size).over(),
            )
            .group_by(numbered.last_error)
            .order_by(size.desc(), func.min(numbered.position))
            .limit(MAX_GROUPS)
        )
