"""The change feed: follow it without end, or read it up to its end."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from uuid import UUID

from sync_client.cursor import CursorStore
from sync_client.face import Face_co, pages
from sync_client.feed import Feed
from sync_client.models import Change, ChangePage, EventType
from sync_client.resource import Resource

FOLLOW_PATIENCE_SECONDS = 3600.0


class Changes(Resource[Face_co]):
    """The feed. `follow` is a method of the client itself too."""

    @pages
    async def follow(
        self,
        cursor: str | None = None,
        *,
        store: CursorStore | None = None,
        event_types: Sequence[EventType] = (),
        file_id: UUID | str | None = None,
    ) -> AsyncGenerator[Change, None]:
        """Every change after `cursor` (None: from the beginning, `latest`: from now on), in order, without end.

        With a `store` it continues from the saved cursor, and from `cursor` only the first time. The saved cursor is
        behind the last change: a change counts as done once the next one is requested. So after a crash the
        changes of at most the last second or page come again, and none is left out. To act exactly once, store
        `Change.cursor` in the same transaction as the effect of the change.

        It waits out every outage, and obeys `Retry-After` for up to an hour. Close the iterator (`contextlib.aclosing`,
        or `contextlib.closing` without asyncio) to save the last cursor immediately.

        Raises:
            InvalidCall: `cursor` is not a cursor.
            GapError: the feed left out a position.
            CursorStoreError: the cursor cannot be loaded or saved.
            BadRequest: the cursor is not of this service or belongs to other filters.
            CursorExpired: events after the cursor are no longer kept.
            EventsLost: a subclass of `CursorExpired`; the service has lost events that were read.
        """
        policy = replace(self._connection.policy, endless=True, patience_seconds=FOLLOW_PATIENCE_SECONDS)
        changes = Feed(self._connection, policy, event_types=event_types, file_id=file_id).follow(cursor, store)
        try:
            async for change in changes:
                yield change
        finally:
            await changes.aclose()

    @pages
    async def pages(
        self,
        cursor: str | None = None,
        *,
        event_types: Sequence[EventType] = (),
        file_id: UUID | str | None = None,
    ) -> AsyncGenerator[ChangePage, None]:
        """The pages after `cursor` (None: from the beginning) up to the end of the ledger; the last one may be empty.

        `ChangePage.cursor` is where each ends. The proofs and the errors are those of `follow`; outages are retried as
        for any other request.
        """
        feed = Feed(self._connection, self._connection.policy, event_types=event_types, file_id=file_id)
        async for page in feed.pages(cursor):
            yield page
