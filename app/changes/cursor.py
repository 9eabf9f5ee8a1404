"""Changes, the filter that selects them, and cursors: texts that mark how far a follower has read.

A cursor is bytes in base64url (RFC 4648, section 5): the version, the position, digests of the filter and of the
ledger's id, in version 2 the last bytes of the id of the event at that position, and a checksum over all of these. The
checksum detects damage; it is not a secret, since a cursor grants no access.
"""

import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from app.errors import ProblemError
from app.events.models import EventType
from app.http.types import MAX_POSITION

DIGEST_BYTES = 6
WITHOUT_EVENT, WITH_EVENT = 1, 2  # the two versions; releases that only know the first refuse the second
LENGTHS = {WITHOUT_EVENT: 36, WITH_EVENT: 44}  # characters
EVENT_TAG_BYTES = 6
_TEXT = re.compile("|".join(f"[A-Za-z0-9_-]{{{length}}}" for length in LENGTHS.values()))
_FIELDS = struct.Struct(f">BQ{DIGEST_BYTES}s{DIGEST_BYTES}s")
START_OVER = "Without a cursor the feed begins with the oldest event, with `cursor=latest` after the newest."


class CursorRefused(ProblemError):
    """400, or 410 for lost events: the feed cannot continue after this cursor."""

    status = 400


class CursorInvalid(CursorRefused):
    """400: the text is not a cursor that this service returned."""

    code = "cursor-invalid"
    detail = f"Invalid or damaged cursor: send it exactly as a response returned it. {START_OVER}"


class CursorOfOtherFilter(CursorRefused):
    """400: the cursor belongs to another filter."""

    code = "cursor-of-other-filter"
    detail = (
        "The cursor was returned for another `event_type` or `file_id`: send the same filter as before. "
        f"To follow another filter, start over. {START_OVER}"
    )


class CursorOfOtherLedger(CursorRefused):
    """400: the cursor belongs to another ledger."""

    code = "cursor-of-other-ledger"
    detail = (
        "The cursor belongs to another ledger, so its position is not valid here: "
        f"check the address of the service, or start over. {START_OVER}"
    )


class CursorAhead(CursorRefused):
    """400: the ledger has lost events that the follower has seen."""

    code = "cursor-ahead"
    detail = (
        "The cursor is ahead of the newest event: the database was restored from an older backup. "
        f"Compare your data with the ledger, and start over. {START_OVER}"
    )


class _EventsGone(CursorRefused):
    """410; `cursor` continues with the oldest event that is kept."""

    status = 410

    def __init__(self, oldest_position: int, cursor: str) -> None:
        super().__init__(members={"oldest_position": oldest_position, "cursor": cursor})


class CursorGone(_EventsGone):
    """Events after the cursor were deleted."""

    code = "cursor-gone"
    detail = (
        "Events after this cursor were deleted; the oldest event that is kept is at `oldest_position`. "
        "Take a snapshot of the files, then continue from the `cursor` in this response."
    )


class CursorOfLostEvent(_EventsGone):
    """The ledger has lost events that the follower has seen, and other events have their positions now."""

    code = "cursor-of-lost-event"
    detail = (
        "The ledger has another event at the position of this cursor: a failover or a restore has lost events that "
        "you have read, and other events have their positions now. Compare your data with the ledger by `event_id`: "
        "the `cursor` in this response continues with the oldest event that is kept, at `oldest_position`."
    )


class Change(NamedTuple):
    """An event at its position; `json` is its `EventView` at the time of the read."""

    position: int
    event_id: UUID
    event_type: str
    file_id: UUID
    json: str


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Selects changes of these types and of this file; an empty set of types is all types, no file is all files."""

    event_types: frozenset[EventType] = frozenset()
    file_id: UUID | None = None

    def digest(self) -> bytes:
        """Digest of the filter, as stored in a cursor; the order of the types does not matter."""
        text = f"{','.join(sorted(self.event_types))};{self.file_id or ''}"
        return blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()

    def matches(self, change: Change) -> bool:
        of_type = not self.event_types or change.event_type in self.event_types
        return of_type and self.file_id in (None, change.file_id)


EVERYTHING = ChangeFilter()


def tag_of(event_id: UUID | None) -> bytes | None:
    """The part of an event's id that a cursor stores: its last bytes, which are random."""
    return None if event_id is None else event_id.bytes[-EVENT_TAG_BYTES:]


def are_of_different_events(one: bytes | None, other: bytes | None) -> bool:
    """Whether two tags of the same position belong to different events; an unknown tag (None) matches any event."""
    return one is not None and other is not None and one != other


def ledger_digest(ledger_id: UUID) -> bytes:
    """Digest of a ledger's id, as stored in a cursor."""
    return blake2b(ledger_id.bytes, digest_size=DIGEST_BYTES).digest()


@dataclass(frozen=True, slots=True)
class Cursor:
    """A follower has read all changes up to `position` in one ledger that match one filter.

    `event_tag` belongs to the event at `position`; None when the event is unknown, as at position 0. `version` is the
    newest version that `encode` writes.
    """

    position: int
    event_tag: bytes | None
    filter_digest: bytes
    ledger_digest: bytes
    version: int = WITH_EVENT

    def encode(self) -> str:
        """The cursor as text; without an event tag it has version 1."""
        tag = self.event_tag if self.version == WITH_EVENT else None
        version = WITHOUT_EVENT if tag is None else WITH_EVENT
        fields = _FIELDS.pack(version, self.position, self.filter_digest, self.ledger_digest) + (tag or b"")
        return urlsafe_b64encode(fields + _check(fields)).decode()

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Decode a cursor of either version.

        Raises:
            CursorInvalid: 400, when it is not bit for bit an output of `encode`.
        """
        if not _TEXT.fullmatch(text):
            raise CursorInvalid
        raw = urlsafe_b64decode(text)
        fields, check = raw[:-DIGEST_BYTES], raw[-DIGEST_BYTES:]
        if check != _check(fields):
            raise CursorInvalid
        version, position, of_filter, of_ledger = _FIELDS.unpack(fields[: _FIELDS.size])
        if LENGTHS.get(version) != len(text) or position > MAX_POSITION:
            raise CursorInvalid
        return cls(position, fields[_FIELDS.size :] or None, of_filter, of_ledger, version)

    def check(self, change_filter: ChangeFilter, ledger_id: UUID, head_position: int) -> None:
        """Check that it belongs to this filter and this ledger, whose last position is `head_position`.

        Raises:
            CursorOfOtherLedger, CursorOfOtherFilter, CursorAhead: 400.
        """
        if self.ledger_digest != ledger_digest(ledger_id):
            raise CursorOfOtherLedger
        if self.filter_digest != change_filter.digest():
            raise CursorOfOtherFilter
        if self.position > head_position:
            raise CursorAhead

    def moved_to(self, position: int, event_id: UUID | None) -> "Cursor":
        """The cursor at `position`, where the event with this id is."""
        return replace(self, position=position, event_tag=tag_of(event_id))


def _check(fields: bytes) -> bytes:
    return blake2b(fields, digest_size=DIGEST_BYTES, person=b"changes").digest()
