"""Splits events into batches that the service accepts."""

from collections.abc import Iterable, Iterator
from typing import Any

from sync_client.connection import encode_json
from sync_client.models import NewEvent

BATCH_EVENTS = 1000
BATCH_BYTES = 3 * 2**20  # of the events' JSON; the service's default limit is 4 MiB


def split_batches(events: Iterable[NewEvent]) -> Iterator[list[dict[str, Any]]]:
    """Bodies of events in their order, at most 1000 and 3 MiB in each batch; an event that exceeds that is alone."""
    batch: list[dict[str, Any]] = []
    size_bytes = 0
    for event in events:
        body = event.body() | {"idempotency_key": event.idempotency_key}
        event_bytes = len(encode_json(body))
        if batch and (len(batch) == BATCH_EVENTS or size_bytes + event_bytes > BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(body)
        size_bytes += event_bytes
    if batch:
        yield batch
