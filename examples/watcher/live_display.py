"""Shows progress on a terminal: a bar for the file being read, above a live table of the latest events."""

from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from watcher.display import Row, printable, readable_size

ROWS = 15
LARGE_BYTES = 16 * 1024 * 1024
_TYPE_STYLES = {"upload": "green", "update": "yellow", "delete": "red"}
_STATE_STYLES = {"processed": "green", "failed": "bold red", "accepted": "dim", "pending": "cyan"}


class LiveDisplay:
    """A context manager; shows something only while it is entered."""

    def __init__(self, console: Console, title: str) -> None:
        self._progress = Progress(
            TextColumn("reading {task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=console,
        )
        self._title = Text(printable(title))
        self._task: TaskID | None = None
        self._rows: deque[Row] = deque(maxlen=ROWS)
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=5)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def hashing(self, path: str, size: int) -> None:
        """A bar for a large file."""
        if size >= LARGE_BYTES:
            self._task = self._progress.add_task(printable(path), total=size)

    def hashed(self, size: int) -> None:
        """The bar grows."""
        if self._task is not None:
            self._progress.advance(self._task, size)

    def hashing_done(self) -> None:
        """The bar goes."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def posted(self, row: Row) -> None:
        """A new row at the bottom."""
        self._rows.append(row)

    def updated(self, row: Row) -> None:
        """The row is shown as it is at the next refresh."""

    def note(self, message: str) -> None:
        """A line above the table."""
        self._live.console.print(Text(printable(message)))

    def _render(self) -> Group:
        table = Table("time", "type", "path", "size", "blocks", "position", "state", title=self._title, expand=True)
        for row in self._rows:
            table.add_row(*_cells(row))
        return Group(table, self._progress)


def _cells(row: Row) -> list[Text]:
    content, kind = row.intent.metadata, row.intent.event_type
    return [
        Text(f"{row.time:%H:%M:%S}"),
        Text(kind, _TYPE_STYLES[kind]),
        Text(printable(row.intent.path), overflow="ellipsis", no_wrap=True),
        Text(readable_size(content["size"]), justify="right"),
        Text(str(content.get("block_count", "")), justify="right"),
        Text(str(row.position or ""), justify="right"),
        Text(
            row.anomaly or row.state,
            "bold yellow" if row.anomaly else _STATE_STYLES.get(row.state, "magenta"),
        ),
    ]
