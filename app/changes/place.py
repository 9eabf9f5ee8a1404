"""Where a follower is."""

from dataclasses import dataclass, replace
from uuid import UUID

from app.changes.cursor import CursorMaker, tag_of


@dataclass(frozen=True, slots=True)
class Place:
    """How far a follower is in the ledger that `cursors` are for.

    `event_tag` is of the event at `position`; None when that is unknown, as at position 0.
    """

    position: int
    event_tag: bytes | None
    cursors: CursorMaker

    def cursor(self) -> str:
        """The cursor of this place."""
        return self.cursors.encode(self.position, self.event_tag)

    def moved_to(self, position: int, event_id: UUID | None) -> "Place":
        """The place at another position, with the id of the event there."""
        return replace(self, position=position, event_tag=tag_of(event_id))
