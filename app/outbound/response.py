"""The result of one HTTP attempt, reduced to what may be stored and shown."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SHOWN_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResponse:
    """The result of one attempt. Without an HTTP response `status_code` is None and `error` says why in a few words."""

    duration_seconds: float
    status_code: int | None = None
    retry_after_seconds: float | None = None
    body: str = ""  # the first KiB of the response body, as printable text
    content: bytes = b""  # the body as it came: all of the response to a GET, the first KiB of others
    error: str | None = None
    refused: bool = False  # the address is not allowed
    unreachable: bool = False  # no connection: no address, connection refused, TLS failed
    timed_out: bool = False


def printable(body: bytes) -> str:
    """The first KiB of `body` as text without control characters, bidirectional marks and broken characters."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # drops a character that is cut at the end
    text = decoder.decode(body[:SHOWN_BYTES]).replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def retry_after_seconds(headers: Sequence[tuple[bytes, bytes]], now: datetime) -> float | None:
    """The seconds that Retry-After asks for, in either form (RFC 9110, section 10.2.3); None without a valid value."""
    values = [value.decode("latin-1").strip() for name, value in headers if name.lower() == b"retry-after"]
    if len(values) != 1:
        return None
    [value] = values
    if value.isascii() and value.isdigit():
        return float(value) if len(value) < 10 else None
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return max(0.0, (at - now).total_seconds())
