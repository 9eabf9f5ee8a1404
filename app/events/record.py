"""An event on its way into the ledger."""

import json
from typing import Any, NamedTuple
from uuid import UUID

from pydantic_core import to_json


def encode_metadata(metadata: dict[str, Any]) -> str:
    """Metadata as the compact JSON text that is stored."""
    return to_json(metadata).decode()


class EventRecord(NamedTuple):
    """An event about to be written, or found written.

    `metadata` is compact JSON text. `id` is drawn by the caller, so that writing the same record again after a lost
    answer can be told from writing another one.
    """

    id: UUID
    file_id: UUID
    event_type: str
    metadata: str | None
    created_by: str
    idempotency_key: str | None

    @property
    def scoped_key(self) -> tuple[str, str] | None:
        """What makes the event one among its retries: the key, within its sender's own space."""
        return None if self.idempotency_key is None else (self.created_by, self.idempotency_key)

    def same_content(self, other: "EventRecord") -> bool:
        """Whether both say the same of the same file; the order of names in the metadata says nothing."""
        return (
            self.file_id == other.file_id
            and self.event_type == other.event_type
            and (self.metadata == other.metadata or _sorted(self.metadata) == _sorted(other.metadata))
        )


def _sorted(metadata: str | None) -> str | None:
    return None if metadata is None else json.dumps(json.loads(metadata), sort_keys=True)
