"""Shows progress as lines, for logs and pipes."""

from datetime import datetime

from watcher.display import Row, printable, readable_size

LARGE_BYTES = 256 * 1024 * 1024


class PlainDisplay:
    """One line for each thing that happens: time, word, path, details."""

    def hashing(self, path: str, size: int) -> None:
        """Print a line for large files."""
        if size >= LARGE_BYTES:
            self._line("hashing", path, readable_size(size))

    def hashed(self, size: int) -> None:
        """Lines do not show parts of a file."""

    def hashing_done(self) -> None:
        """The line of the event follows."""

    def posted(self, row: Row) -> None:
        """An event, with its id."""
        content = row.intent.metadata
        details = [readable_size(content["size"])] if "size" in content else []
        if "block_count" in content:
            details.append(f"{content['block_count']} block{'s' * (content['block_count'] != 1)}")
        if "moved_from" in content:
            details.append(f"moved from {content['moved_from']['path']}")
        if row.created.replayed:
            details.append("known from an earlier attempt")
        self._line(row.intent.event_type, row.intent.path, *details, f"event {row.created.event_id}")

    def updated(self, row: Row) -> None:
        """The progress of an event at the service."""
        anomaly = [row.anomaly] if row.anomaly else []
        self._line(row.state, row.intent.path, f"position {row.position}", *anomaly)

    def note(self, message: str) -> None:
        """A line of its own."""
        print(f"{_now()} {printable(message)}", flush=True)

    def _line(self, word: str, path: str, *details: str) -> None:
        self.note(f"{word:<9} {path}  ({', '.join(details)})")


def _now() -> str:
    return f"{datetime.now().astimezone():%H:%M:%S}"
