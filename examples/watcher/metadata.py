"""The metadata of events.

Metadata of `upload` and `update`:

| field | what |
|---|---|
| `path` | inside the folder, with `/`; bytes that are not UTF-8 show as U+FFFD |
| `path_base64` | the exact bytes of the path, only where they are not UTF-8 |
| `size` | in bytes |
| `modified_at` | RFC 3339, UTC; null where the file's time is out of range |
| `block_size` | 4194304; the last block may be shorter |
| `block_count` | number of blocks, 0 for an empty file |
| `blocks_sha256` | SHA-256, in hex, over the concatenated raw block digests: names the content |
| `blocks` | SHA-256 of each block, in hex, in order; left out where metadata would exceed 16 KiB, see below |
| `moved_from` | `{"file_id", "path"}` of a file with the same content that has just gone, if there is one |

`blocks` fits for files of up to about 950 MiB; for larger ones `blocks_sha256` and `block_count` stand for it.

Metadata of `delete`: `path`, `path_base64`, and the last known `size` and `blocks_sha256`.
"""

import base64
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from watcher.block import BLOCK_BYTES, Blocks
from watcher.scanner import Fingerprint
from watcher.state import FileRecord

METADATA_MAX_BYTES = 16_384

Metadata = dict[str, Any]


def describe_content(
    path: str, fingerprint: Fingerprint, blocks: Blocks, moved_from: tuple[str, FileRecord] | None = None
) -> Metadata:
    """Metadata of an upload or update of the file at `path`."""
    metadata = _describe_path(path) | {
        "size": blocks.size,
        "modified_at": _rfc3339(fingerprint.modified_ns),
        "block_size": BLOCK_BYTES,
        "block_count": len(blocks.digests),
        "blocks_sha256": blocks.root,
    }
    if moved_from:
        old_path, record = moved_from
        metadata["moved_from"] = {"file_id": record.file_id, "path": _readable(old_path)}
    complete = metadata | {"blocks": [digest.hex() for digest in blocks.digests]}
    return complete if _encoded_bytes(complete) <= METADATA_MAX_BYTES else metadata


def describe_deletion(path: str, record: FileRecord) -> Metadata:
    """Metadata of a delete of the file at `path`, last seen as `record`."""
    return _describe_path(path) | {"size": record.fingerprint.size, "blocks_sha256": record.digest}


def _describe_path(path: str) -> Metadata:
    readable = _readable(path)
    exact = {} if readable == path else {"path_base64": base64.b64encode(os.fsencode(path)).decode()}
    return {"path": readable} | exact


def _readable(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="replace")


def _rfc3339(timestamp_ns: int) -> str | None:
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=timestamp_ns // 1000)
    except OverflowError:
        return None
    return moment.isoformat().replace("+00:00", "Z")


def _encoded_bytes(metadata: Metadata) -> int:
    return len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
