"""Renders one change as a line, for people or for programs; it contains no control sequence of a terminal."""

import json
import os
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO
from uuid import UUID

from sync_client import Change

METADATA_CHARACTERS = 200

_RESET, _DIM, _ALARM = "\x1b[0m", "\x1b[2m", "\x1b[1;31m"
_OF_TYPE = {"upload": "\x1b[32m", "update": "\x1b[33m", "delete": "\x1b[31m"}


class ShownEvent(Protocol):
    """The parts of an event that a line shows."""

    @property
    def position(self) -> int:
        """Its position in the ledger."""

    @property
    def file_id(self) -> UUID:
        """Its file."""

    @property
    def event_type(self) -> str:
        """Its type."""

    @property
    def created_at(self) -> datetime:
        """When it was recorded."""

    @property
    def metadata(self) -> dict[str, Any] | None:
        """Its metadata."""

    @property
    def anomaly(self) -> str | None:
        """Its anomaly, if there is one."""


def in_terminal_colours(stream: TextIO) -> bool:
    """Whether output to `stream` may have colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def render_text(change: ShownEvent, *, colours: bool) -> str:
    """`2026-01-15 10:30:00.123Z  42  upload  FILE-ID  ANOMALY  {"path":"a"}`, without absent parts."""

    def in_(colour: str, text: str) -> str:
        return _paint(colour, text) if colours else text

    parts = [
        in_(_DIM, _time(change.created_at)),
        f"{change.position:>8}",
        in_(_OF_TYPE.get(change.event_type, ""), f"{escape(change.event_type):<6}"),
        str(change.file_id),
        in_(_ALARM, escape(change.anomaly)) if change.anomaly else "",
        in_(_DIM, _short(change)) if change.metadata else "",
    ]
    return "  ".join(filter(None, parts))


def render_refusal(at: datetime, status: int, why: str, *, colours: bool) -> str:
    """`2026-01-15 10:30:00.123Z  401  no signature is by this secret`."""
    text = f"{status}  {escape(why)}"
    return f"{_paint(_DIM, _time(at))}  {_paint(_ALARM, text)}" if colours else f"{_time(at)}  {text}"


def render_json(change: Change) -> str:
    """The change as JSON in ASCII, with the `cursor` after it."""
    return json.dumps(change.model_dump(mode="json"), separators=(",", ":"))


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(" ", "milliseconds").replace("+00:00", "Z")


def _paint(colour: str, text: str) -> str:
    return f"{colour}{text}{_RESET}" if colour else text


def _short(change: ShownEvent) -> str:
    text = escape(json.dumps(change.metadata, ensure_ascii=False, separators=(",", ":")))
    return text if len(text) <= METADATA_CHARACTERS else f"{text[: METADATA_CHARACTERS - 1]}…"


def escape(text: str) -> str:
    """`text` with everything that does not print escaped as in Python."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
