"""A page of the feed: the wanted changes of a range of positions, and the cursor that goes on after it."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.changes.change import Change
from app.changes.cursor import CursorMaker


@dataclass(frozen=True, slots=True)
class Page:
    """Every wanted change after the position `after`, up to `through`; `head` is the ledger's last position then."""

    changes: Sequence[Change]
    after: int
    through: int
    head: int
    cursors: CursorMaker

    def encode(self) -> bytes:
        """The page as JSON, a `ChangePage`."""
        changes = ",".join([change.json for change in self.changes])
        text = (
            f'{{"changes":[{changes}],"cursor":"{self.cursors.encode(self.through)}",'
            f'"has_more":{"true" if self.through < self.head else "false"},"head_position":{self.head},'
            f'"from_position":{self.after + 1},"to_position":{self.through}}}'
        )
        return text.encode()
