"""A page of the feed: the wanted changes of a range of positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from app.changes.change import Change
from app.changes.place import Place


@dataclass(frozen=True)
class Page:
    """Every wanted change after the position `after`, up to `end`; `head` is the ledger's last position then."""

    changes: Sequence[Change]
    after: int
    end: Place
    head: int

    @property
    def has_more(self) -> bool:
        """Whether the ledger goes on."""
        return self.end.position < self.head

    def encode(self) -> bytes:
        """The page as JSON, a `ChangePage`; the same bytes for all who share the page."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        changes = ",".join([change.json for change in self.changes])
        text = (
            f'{{"changes":[{changes}],"cursor":"{self.end.cursor()}",'
            f'"has_more":{"true" if self.has_more else "false"},"head_position":{self.head},'
            f'"from_position":{self.after + 1},"to_position":{self.end.position}}}'
        )
        return text.encode()
