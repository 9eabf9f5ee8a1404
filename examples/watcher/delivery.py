"""Posts events through the client of Sync Service, and classifies failures."""

from sync_client import Created, Event, SyncClient, SyncError, UnexpectedAnswer
from sync_client import Refused as RefusedRequest
from watcher.state import Intent

REDIRECTS = range(300, 400)
# The token or the address is wrong: every other event would fail in the same way.
_HOPELESS = frozenset({401, 403, 404, 405, *REDIRECTS})


class Rejected(Exception):
    """The service refuses this one event permanently."""


class Refused(Exception):
    """The service refuses every request; nothing can be posted until the token or the address is corrected."""


class Delivery:
    """Posts events, and reads their progress."""

    def __init__(self, sync: SyncClient) -> None:
        self._sync = sync

    async def post(self, intent: Intent) -> Created:
        """Post an event; every attempt carries the same idempotency key, so it is recorded once.

        Raises:
            sync_client.Unavailable, Rejected, Refused: see each class; the message is safe to show.
        """
        try:
            return await self._sync.create(
                intent.file_id, intent.event_type, intent.metadata, idempotency_key=intent.idempotency_key
            )
        except UnexpectedAnswer as error:
            raise Refused(f"{error}; check --url") from error
        except RefusedRequest as error:
            if error.status in _HOPELESS:
                raise Refused(f"{error}; check --url and the token") from error
            raise Rejected(str(error)) from error

    async def find_status(self, created: Created) -> Event | None:
        """The progress of the event, or None while it is unknown."""
        try:
            return await self._sync.get(created.event_id)
        except SyncError:
            return None
