"""Tables of the service's state at the end of the demo."""

from datetime import datetime
from typing import Any

from rich.table import Table
from watcher.display import readable_size

Event = dict[str, Any]
FileState = dict[str, Any]


def path_of(event: Event) -> str:
    """The path that the watcher put into the metadata."""
    return str(event["metadata"]["path"])


def event_table(events: list[Event]) -> Table:
    """The ledger, oldest event first, with the blocks that differ from the same file's event before."""
    columns = ("position", "type", "path", "size", "blocks", "new blocks", "processed after")
    table = Table(*columns, title="GET /sync-events")
    blocks: dict[str, list[str]] = {}
    for event in events:
        path, metadata = path_of(event), event["metadata"]
        before, blocks[path] = blocks.get(path, []), metadata.get("blocks", [])
        table.add_row(
            str(event["position"]),
            event["event_type"],
            path,
            readable_size(metadata["size"]),
            str(metadata.get("block_count", "")),
            str(new_blocks(before, blocks[path])),
            f"{_processing_seconds(event):.2f} s",
        )
    return table


def file_table(files: dict[str, FileState]) -> Table:
    """The state of each file, from the processed events."""
    table = Table("path", "file_id", "state", "revision", "last event", title="GET /files/{file_id}")
    for path, state in sorted(files.items()):
        last = f"{state['last_event_type']} at position {state['last_position']}"
        table.add_row(path, state["file_id"], state["state"], str(state["revision"]), last)
    return table


def new_blocks(before: list[str], after: list[str]) -> int:
    """The number of blocks to send to a block store."""
    return len(set(after) - set(before))


def _processing_seconds(event: Event) -> float:
    created, processed = (datetime.fromisoformat(event[key]) for key in ("created_at", "processed_at"))
    return (processed - created).total_seconds()
