"""One event in the feed, and the filter that selects events."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from app.events.models import EventType

DIGEST_BYTES = 6


class Change(NamedTuple):
    """An event at its position; `json` is its `EventView` at the time of the read."""

    position: int
    event_id: UUID
    event_type: str
    file_id: UUID
    json: str


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Selects changes of these types and of this file; an empty set of types is all types, no file is all files."""

    event_types: frozenset[EventType] = frozenset()
    file_id: UUID | None = None

    def digest(self) -> bytes:
        """Digest of the filter, as stored in a cursor; the order of the types does not matter."""
        text = f"{','.join(sorted(self.event_types))};{self.file_id or ''}"
        return blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()

    def matches(self, change: Change) -> bool:
        """Whether `change` passes the filter."""
        of_type = not self.event_types or change.event_type in self.event_types
        return of_type and self.file_id in (None, change.file_id)


EVERYTHING = ChangeFilter()
