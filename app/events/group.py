"""Decides what a group of appends writes, given what the ledger already knows. Pure policy, no I/O."""

import asyncio
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from opentelemetry.trace import SpanContext
from pydantic_core import to_json

from app.errors import Unprocessable


def encode_metadata(metadata: dict[str, Any]) -> str:
    """Metadata as the compact JSON text that is stored."""
    return to_json(metadata).decode()


class EventRecord(NamedTuple):
    """An event about to be written, or found written.

    `metadata` is compact JSON text. `id` is drawn by the caller, so that writing the same record again after a lost
    response can be distinguished from writing another one.
    """

    id: UUID
    file_id: UUID
    event_type: str
    metadata: str | None
    created_by: str
    idempotency_key: str | None

    @property
    def scoped_key(self) -> tuple[str, str] | None:
        """The identity of the event across its retries: the sender's subject and its key."""
        return None if self.idempotency_key is None else (self.created_by, self.idempotency_key)

    def same_content(self, other: "EventRecord") -> bool:
        """Whether both record the same event of the same file; metadata are compared as JSON values, not as texts."""
        return (
            self.file_id == other.file_id
            and self.event_type == other.event_type
            and (self.metadata == other.metadata or _is_same(_decode(self.metadata), _decode(other.metadata)))
        )


def _decode(metadata: str | None) -> Any:
    return None if metadata is None else json.loads(metadata)


def _is_same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 and 1e0 are, and 0 and -0.0, but neither 1 and true.

    Python compares an integer with a float exactly, so that 2**53 + 1 is not the float next to it.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


class IdempotencyKeyReused(Unprocessable):
    code = "idempotency-key-reused"
    detail = "This idempotency key was used before for a different event; use a new key for a new event."


class Receipt(NamedTuple):
    """Where an event is recorded, and whether an earlier request had recorded it."""

    event_id: UUID
    replayed: bool


@dataclass(slots=True, eq=False)
class Append:
    """Events that are written together for one caller, all or nothing, and their outcome."""

    records: Sequence[EventRecord]
    outcome: asyncio.Future[list[Receipt]]
    origin: SpanContext | None = None  # the caller's span, if one is recorded

    @property
    def settled(self) -> bool:
        """Whether the outcome is set, or its caller has left."""
        return self.outcome.done()

    def resolve(self, receipts: list[Receipt]) -> None:
        if not self.outcome.done():
            self.outcome.set_result(receipts)

    def refuse(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


@dataclass(slots=True)
class GroupPlan:
    """The events to write, and the receipts to give once they are written."""

    records: list[EventRecord] = field(default_factory=list)
    accepted: list[tuple[Append, list[Receipt]]] = field(default_factory=list)
    refused: list[Append] = field(default_factory=list)


def plan_group(appends: Iterable[Append], known: Collection[EventRecord]) -> GroupPlan:
    """Sort `appends` into records to write and receipts to give; an append is refused as a whole or not at all.

    `known` are the events of the group that the ledger holds under their id or their scoped key.
    """
    plan = GroupPlan()
    written = {record.id for record in known}
    by_key = {record.scoped_key: record for record in known}
    for append in appends:
        receipts: list[Receipt] = []
        own: dict[tuple[str, str] | None, EventRecord] = {}
        records: list[EventRecord] = []
        for record in append.records:
            key = record.scoped_key
            earlier = key and (by_key.get(key) or own.get(key))
            if earlier and not earlier.same_content(record):
                plan.refused.append(append)
                break
            recorded = earlier or record
            # With the same id it is our own write, whose response was lost: to the caller it is the first.
            receipts.append(Receipt(recorded.id, replayed=recorded.id != record.id))
            if not earlier and record.id not in written:
                records.append(record)
                if key:
                    own[key] = record
        else:
            by_key |= own
            plan.records += records
            plan.accepted.append((append, receipts))
    return plan
