"""Renders one change as a line, for people or for programs; nothing in it can steer a terminal."""

import json
from datetime import UTC

from sync_client import Change

METADATA_CHARACTERS = 200

_RESET, _DIM, _ALARM = "\x1b[0m", "\x1b[2m", "\x1b[1;31m"
_OF_TYPE = {"upload": "\x1b[32m", "update": "\x1b[33m", "delete": "\x1b[31m"}


def render_text(change: Change, *, colours: bool) -> str:
    """`2026-01-15 10:30:00.123Z  42  upload  FILE-ID  ANOMALY  {"path":"a"}`, without what is not there."""

    def in_(colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if colours and colour else text

    time = change.created_at.astimezone(UTC).isoformat(" ", "milliseconds").replace("+00:00", "Z")
    parts = [
        in_(_DIM, time),
        f"{change.position:>8}",
        in_(_OF_TYPE.get(change.event_type, ""), f"{_escape(change.event_type):<6}"),
        str(change.file_id),
        in_(_ALARM, _escape(change.anomaly)) if change.anomaly else "",
        in_(_DIM, _short(change)) if change.metadata else "",
    ]
    return "  ".join(filter(None, parts))


def render_json(change: Change) -> str:
    """The change as JSON in ASCII, with the `cursor` that goes on after it."""
    return json.dumps(change.model_dump(mode="json"), separators=(",", ":"))


def _short(change: Change) -> str:
    text = _escape(json.dumps(change.metadata, ensure_ascii=False, separators=(",", ":")))
    return text if len(text) <= METADATA_CHARACTERS else f"{text[: METADATA_CHARACTERS - 1]}…"


def _escape(text: str) -> str:
    """`text` with everything that does not print escaped as in Python."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
