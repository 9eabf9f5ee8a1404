"""Files: their state and their history."""

from collections.abc import AsyncGenerator
from uuid import UUID

from pydantic import TypeAdapter

from sync_client.connection import path_id
from sync_client.events import EVENTS, LIST_PAGE_EVENTS
from sync_client.face import Face_co, operation, pages
from sync_client.models import Event, FileState
from sync_client.pagination import list_pages
from sync_client.resource import Resource

_FILE = TypeAdapter(FileState)


class Files(Resource[Face_co]):
    """The files that events name. Both raise `NotFound` when no event names the file."""

    @operation
    async def state(self, file_id: UUID | str) -> FileState:
        """The file's state, derived from its processed events, and how far each subscription is with it."""
        return (await self._connection.get(f"files/{path_id(file_id)}", _FILE))[0]

    @pages
    async def history(self, file_id: UUID | str) -> AsyncGenerator[Event, None]:
        """Everything that happened to the file, oldest first."""
        path, query = f"files/{path_id(file_id)}/events", {"limit": LIST_PAGE_EVENTS}
        async for event in list_pages(self._connection, path, EVENTS, query, lambda one: one.position):
            yield event
