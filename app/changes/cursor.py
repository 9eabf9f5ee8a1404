"""Cursors: how far a follower has read, as an opaque text that vouches for itself.

A cursor is bytes in base64url (RFC 4648, section 5): the version, the position, digests of the filter and of the
ledger's id, in version 2 the end of the id of the event at that position, and a check over all of these. The check
finds damage; it is no secret, since a cursor opens nothing.
"""

import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from hashlib import blake2b
from uuid import UUID

from app.changes.change import DIGEST_BYTES, Wanted
from app.changes.errors import CursorAhead, CursorInvalid, CursorOfOtherFilter, CursorOfOtherLedger

WITHOUT_EVENT, WITH_EVENT = 1, 2  # the two versions; a release that knows the first alone refuses the second
LENGTHS = {WITHOUT_EVENT: 36, WITH_EVENT: 44}  # characters
EVENT_TAG_BYTES = 6
MAX_POSITION = 2**63 - 1
_TEXT = re.compile("|".join(f"[A-Za-z0-9_-]{{{length}}}" for length in LENGTHS.values()))
_FIELDS = struct.Struct(f">BQ{DIGEST_BYTES}s{DIGEST_BYTES}s")


def tag_of(event_id: UUID | None) -> bytes | None:
    """What a cursor keeps of the event that it stands at: the end of its id, which is random."""
    return None if event_id is None else event_id.bytes[-EVENT_TAG_BYTES:]


def are_of_different_events(one: bytes | None, other: bytes | None) -> bool:
    """Whether two tags of one position contradict each other; an unknown tag contradicts none."""
    return one is not None and other is not None and one != other


class CursorMaker:
    """Makes and judges the cursors of one filter of one ledger; `version` is the newest one to write."""

    def __init__(self, wanted: Wanted, ledger_id: UUID, version: int = WITH_EVENT) -> None:
        self.ledger_id = ledger_id
        self._wanted = wanted.digest()
        self._ledger = _digest_ledger(ledger_id)
        self._version = version

    def encode(self, position: int, event_tag: bytes | None) -> str:
        """The cursor of a follower that has read everything wanted up to `position`.

        Without a tag, as at position 0, it is of version 1.
        """
        tag = event_tag if self._version == WITH_EVENT else None
        version = WITHOUT_EVENT if tag is None else WITH_EVENT
        fields = _FIELDS.pack(version, position, self._wanted, self._ledger) + (tag or b"")
        return urlsafe_b64encode(fields + _check(fields)).decode()

    def check(self, cursor: "Cursor", head_position: int) -> None:
        """Make sure that `cursor` goes with this filter and ledger, whose last position is given.

        Raises:
            CursorOfOtherLedger, CursorOfOtherFilter, CursorAhead: 400.
        """
        if cursor.ledger != self._ledger:
            raise CursorOfOtherLedger
        if cursor.wanted != self._wanted:
            raise CursorOfOtherFilter
        if cursor.position > head_position:
            raise CursorAhead


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a cursor says. The digests name its filter and its ledger; version 1 has no tag of its event."""

    position: int
    wanted: bytes
    ledger: bytes
    event_tag: bytes | None

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Read a cursor of either version.

        Raises:
            CursorInvalid: 400, when it is not, to the last bit, what `CursorMaker.encode` gives.
        """
        if not _TEXT.fullmatch(text):
            raise CursorInvalid
        raw = urlsafe_b64decode(text)
        fields, check = raw[:-DIGEST_BYTES], raw[-DIGEST_BYTES:]
        if check != _check(fields):
            raise CursorInvalid
        version, position, wanted, ledger = _FIELDS.unpack(fields[: _FIELDS.size])
        if LENGTHS.get(version) != len(text) or position > MAX_POSITION:
            raise CursorInvalid
        return cls(position, wanted, ledger, fields[_FIELDS.size :] or None)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a follower is in the ledger that `cursors` are for.

    `event_tag` is of the event at `position`; None when that is unknown, as at position 0.
    """

    position: int
    event_tag: bytes | None
    cursors: CursorMaker

    def cursor(self) -> str:
        """The cursor of this place."""
        return self.cursors.encode(self.position, self.event_tag)

    def moved_to(self, position: int, event_id: UUID | None) -> "Place":
        """The place at another position, with the id of the event there."""
        return replace(self, position=position, event_tag=tag_of(event_id))


def _digest_ledger(ledger_id: UUID) -> bytes:
    return blake2b(ledger_id.bytes, digest_size=DIGEST_BYTES).digest()


def _check(fields: bytes) -> bytes:
    return blake2b(fields, digest_size=DIGEST_BYTES, person=b"changes").digest()
