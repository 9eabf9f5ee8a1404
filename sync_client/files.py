"""Files: their state and their history."""

from collections.abc import AsyncGenerator
from uuid import UUID

import httpx
from pydantic import TypeAdapter

from sync_client.connection import path_id
from sync_client.consistency_models import FileConsistency
from sync_client.events import EVENTS, LIST_PAGE_EVENTS
from sync_client.face import Face_co, operation, pages
from sync_client.models import Event, FileState
from sync_client.pagination import list_pages
from sync_client.resource import Resource

_FILE = TypeAdapter(FileState)
_CONSISTENCY = TypeAdapter(FileConsistency)
_REFRESH_SECONDS = 10  # the service asks the sources for so long


class Files(Resource[Face_co]):
    """The files that events name. All raise `NotFound` when no event names the file."""

    @operation
    async def state(self, file_id: UUID | str) -> FileState:
        """The file's state, derived from its processed events, and the progress of each subscription with it."""
        return (await self._connection.get(f"files/{path_id(file_id)}", _FILE))[0]

    @pages
    async def history(self, file_id: UUID | str) -> AsyncGenerator[Event, None]:
        """All events of the file, oldest first."""
        path, query = f"files/{path_id(file_id)}/events", {"limit": LIST_PAGE_EVENTS}
        async for event in list_pages(self._connection, path, EVENTS, query, lambda one: one.position):
            yield event

    @operation
    async def consistency(self, file_id: UUID | str, *, refresh: bool = False) -> FileConsistency:
        """Whether the sources hold the file as its events say; with `refresh` the service asks them now."""
        path, query = f"files/{path_id(file_id)}/consistency", httpx.QueryParams({"refresh": "true"} if refresh else {})
        wait = _REFRESH_SECONDS if refresh else 0
        return (await self._connection.get(path, _CONSISTENCY, query, wait_seconds=wait))[0]
