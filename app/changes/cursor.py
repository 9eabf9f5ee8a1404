"""Cursors: how far a follower has read, as an opaque text that vouches for itself.

Version 1 is 27 bytes in base64url (RFC 4648, section 5): the version, the position, digests of the filter and of the
ledger's id, and a check over all of these. The check finds damage; it is no secret, since a cursor opens nothing.
"""

import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from app.changes.errors import CursorAhead, CursorInvalid, CursorOfOtherFilter, CursorOfOtherLedger
from app.changes.wanted import DIGEST_BYTES, Wanted

LENGTH = 36  # characters
MAX_POSITION = 2**63 - 1
_VERSION = 1
_TEXT = re.compile(rf"[A-Za-z0-9_-]{{{LENGTH}}}")
_FIELDS = struct.Struct(f">BQ{DIGEST_BYTES}s{DIGEST_BYTES}s")


class CursorMaker:
    """Makes and judges the cursors of one filter of one ledger."""

    def __init__(self, wanted: Wanted, ledger_id: UUID) -> None:
        self.ledger_id = ledger_id
        self._wanted = wanted.digest()
        self._ledger = _digest_ledger(ledger_id)

    def encode(self, position: int) -> str:
        """The cursor of who has read everything wanted up to `position`."""
        fields = _FIELDS.pack(_VERSION, position, self._wanted, self._ledger)
        return urlsafe_b64encode(fields + _check(fields)).decode()

    def position_of(self, cursor: "Cursor", head_position: int) -> int:
        """The position of `cursor`, when it goes with this filter and ledger, whose last position is given.

        Raises:
            CursorOfOtherLedger, CursorOfOtherFilter, CursorAhead: 400.
        """
        if cursor.ledger != self._ledger:
            raise CursorOfOtherLedger
        if cursor.wanted != self._wanted:
            raise CursorOfOtherFilter
        if cursor.position > head_position:
            raise CursorAhead
        return cursor.position


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a cursor says; the digests say which filter and which ledger it is for."""

    position: int
    wanted: bytes
    ledger: bytes

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Read a cursor.

        Raises:
            CursorInvalid: 400, when it is not, to the last bit, what `CursorMaker.encode` gives.
        """
        if not _TEXT.fullmatch(text):
            raise CursorInvalid
        raw = urlsafe_b64decode(text)
        fields, check = raw[: _FIELDS.size], raw[_FIELDS.size :]
        if check != _check(fields):
            raise CursorInvalid
        version, position, wanted, ledger = _FIELDS.unpack(fields)
        if version != _VERSION or position > MAX_POSITION:
            raise CursorInvalid
        return cls(position, wanted, ledger)


def _digest_ledger(ledger_id: UUID) -> bytes:
    return blake2b(ledger_id.bytes, digest_size=DIGEST_BYTES).digest()


def _check(fields: bytes) -> bytes:
    return blake2b(fields, digest_size=DIGEST_BYTES, person=b"changes").digest()
