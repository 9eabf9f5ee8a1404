"""Follows the feed by long polls, proves that nothing is missing, and keeps the consumer's progress."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
from pydantic import TypeAdapter

from sync_client.bookmark import Bookmark
from sync_client.connection import Connection
from sync_client.continuity import check_continuity, check_same_event
from sync_client.cursor import CursorFile, CursorStore
from sync_client.face import Face
from sync_client.models import Change, ChangePage
from sync_client.retry import RetryPolicy

LATEST = "latest"
PAGE_CHANGES = 500
WAIT_SECONDS = 30  # proxies commonly end connections that are silent for 60 seconds
SAVE_SECONDS = 1.0
IDLE_SECONDS = 0.2  # after an empty response, which a service in shutdown gives immediately

Query = str | int | list[str]

_PAGE = TypeAdapter(ChangePage)


class Feed:
    """The feed of one service, of all events or of some."""

    def __init__(
        self,
        connection: Connection,
        policy: RetryPolicy,
        *,
        event_types: Sequence[str] = (),
        file_id: UUID | str | None = None,
    ) -> None:
        self._connection = connection
        self._policy = policy
        self._filter: dict[str, str | list[str]] = {}
        if event_types:
            self._filter["event_type"] = list(event_types)
        if file_id is not None:
            self._filter["file_id"] = str(file_id)

    async def follow(self, start: str | None, store: CursorStore | None) -> AsyncGenerator[Change, None]:
        """The changes after the cursor in `store`, else after `start`, without end."""
        face = self._connection.face
        saved = None if store is None else _Saved(face, store)
        remembered = await saved.load() if saved else None
        bookmark = _begin(remembered if remembered is not None else start)
        progress = _Progress(saved, bookmark if remembered is not None else None)
        try:
            while True:
                page = await self._page(bookmark)
                end = Bookmark(page.cursor, page.to_position)
                if bookmark.position is not None and page.to_position < bookmark.position:
                    # A page that is requested again, for a follower in the middle of it, may be shorter.
                    end = replace(bookmark, cursor=page.cursor)
                for change in page.changes:
                    if bookmark.position is not None and change.position <= bookmark.position:
                        continue
                    last = change is page.changes[-1]
                    reached = end if last else Bookmark.at(bookmark.cursor, change)
                    yield change.model_copy(update={"cursor": str(reached)})
                    await progress.take(reached)
                await progress.finish_page(end)
                if end == bookmark:
                    await face.sleep(IDLE_SECONDS)
                bookmark = end
        finally:
            await progress.save()

    async def pages(self, start: str | None) -> AsyncGenerator[ChangePage, None]:
        """The pages after `start` up to the end of the ledger."""
        bookmark, has_more = _begin(start), True
        while has_more:
            query: dict[str, Query] = {**self._filter, "limit": PAGE_CHANGES}
            page = await self._get(bookmark, query | ({} if bookmark.cursor is None else {"cursor": bookmark.cursor}))
            bookmark, has_more = Bookmark(page.cursor, page.to_position), page.has_more
            yield page

    async def _page(self, bookmark: Bookmark) -> ChangePage:
        query: dict[str, Query] = {**self._filter, "limit": PAGE_CHANGES, "wait": WAIT_SECONDS}
        if bookmark.cursor is None:
            query["limit"] = 1  # so that there soon is a cursor to return to
        else:
            query["cursor"] = bookmark.cursor
        if bookmark.cursor == LATEST:
            query["wait"] = 0  # so that the starting cursor is saved before the first change comes
        return await self._get(bookmark, query, wait_seconds=WAIT_SECONDS)

    async def _get(self, bookmark: Bookmark, query: dict[str, Query], wait_seconds: int = 0) -> ChangePage:
        page, _ = await self._connection.get(
            "changes", _PAGE, httpx.QueryParams(query), policy=self._policy, wait_seconds=wait_seconds
        )
        check_continuity(page, after=bookmark.position, filtered=bool(self._filter))
        check_same_event(page, bookmark)
        return page


class _Saved:
    """A store, called through the face; only a file store waits for the disk."""

    def __init__(self, face: Face, store: CursorStore) -> None:
        self._store = store
        self._call: Callable[..., Awaitable[Any]] = face.call_blocking if isinstance(store, CursorFile) else face.call

    async def load(self) -> str | None:
        loaded: str | None = await self._call(self._store.load)
        return loaded

    async def save(self, cursor: str) -> None:
        await self._call(self._store.save, cursor)


class _Progress:
    """The consumer's progress, saved at least every second, after every page, and at the end."""

    def __init__(self, store: _Saved | None, saved: Bookmark | None) -> None:
        self._store = store
        self._saved = self._taken = saved
        self._saved_at = time.monotonic()

    async def take(self, bookmark: Bookmark) -> None:
        """The consumer has handled everything up to `bookmark`, because it requests more."""
        self._taken = bookmark
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            await self.save()

    async def finish_page(self, bookmark: Bookmark) -> None:
        """The page up to `bookmark` is finished."""
        self._taken = bookmark
        await self.save()

    async def save(self) -> None:
        """Save the progress unless it is saved already."""
        if self._store is None or self._taken is None or self._taken == self._saved:
            return
        taken = self._taken
        await self._store.save(str(taken))
        self._saved, self._saved_at = taken, time.monotonic()


def _begin(cursor: str | None) -> Bookmark:
    return Bookmark() if cursor is None else Bookmark.parse(cursor)
