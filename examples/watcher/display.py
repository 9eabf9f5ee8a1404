"""The display of a run: one row for each event."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sync_client import Created, Event
from watcher.state import Intent

KIBI = 1024


@dataclass(slots=True)
class Row:
    """One posted event. `time` is local; `position` and `state` come later from the service."""

    intent: Intent
    created: Created
    time: datetime = field(default_factory=lambda: datetime.now().astimezone())
    position: int | None = None
    state: str = "accepted"
    anomaly: str | None = None

    def update(self, status: Event) -> bool:
        """Apply `status`; returns whether that changed the row."""
        before = (self.position, self.state, self.anomaly)
        self.position, self.state, self.anomaly = status.position, status.state, status.anomaly
        return before != (self.position, self.state, self.anomaly)


class Display(Protocol):
    """Shows progress. `hashed` is called from another thread."""

    def hashing(self, path: str, size: int) -> None:
        """The file at `path`, of `size` bytes, is being read now."""

    def hashed(self, size: int) -> None:
        """`size` more bytes of it are done."""

    def hashing_done(self) -> None:
        """It is read, or reading was abandoned."""

    def posted(self, row: Row) -> None:
        """The service has taken an event."""

    def updated(self, row: Row) -> None:
        """An event has made progress at the service."""

    def note(self, message: str) -> None:
        """Any other message."""


def printable(text: str) -> str:
    """`text` with everything escaped that could steer a terminal, or that stands for a byte of no character."""
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python carries a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def readable_size(size: int) -> str:
    """A number of bytes for people, in binary units."""
    amount, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= KIBI and len(units) > 1:
        amount, units = amount / KIBI, units[1:]
    return f"{amount:.0f} {units[0]}" if units[0] == "B" else f"{amount:.1f} {units[0]}"
