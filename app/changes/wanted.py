"""Which changes a follower wants."""

from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from app.changes.change import Change
from app.events.models import EventType

DIGEST_BYTES = 6


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
