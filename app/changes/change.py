"""One event as the feed shows it, and the filter that chooses among them."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from app.events.models import EventType

DIGEST_BYTES = 6


class Change(NamedTuple):
    """An event at its position; `json` is the event as everywhere (`EventView`), at the moment it was read."""

    position: int
    event_id: UUID
    event_type: str
    file_id: UUID
    json: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Changes of these types, all of them when there is none, and of this file, if there is one."""

    event_types: frozenset[EventType] = frozenset()
    file_id: UUID | None = None

    def digest(self) -> bytes:
        """What a cursor keeps of it: the same for the same types in any order."""
        text = f"{','.join(sorted(self.event_types))};{self.file_id or ''}"
        return blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()

    def matches(self, change: Change) -> bool:
        """Whether `change` is wanted."""
        of_type = not self.event_types or change.event_type in self.event_types
        return of_type and self.file_id in (None, change.file_id)


EVERYTHING = Wanted()
