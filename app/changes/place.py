"""Where a follower is."""

from dataclasses import dataclass, replace

from app.changes.cursor import CursorMaker


@dataclass(frozen=True, slots=True)
class Place:
    """How far a follower is in the ledger that `cursors` are for."""

    position: int
    cursors: CursorMaker

    def cursor(self) -> str:
        """The cursor of this place."""
        return self.cursors.encode(self.position)

    def moved_to(self, position: int) -> "Place":
        """The place at another position."""
        return replace(self, position=position)
