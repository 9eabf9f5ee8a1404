"""Renders log lines as text for people: nothing that a value holds can end its line, colour it or pose as a field."""

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any
from uuid import UUID

CONTINUATION = "    | "
LEVEL_WIDTH = 8

# Caller and logger come last, so that the event is at the same place in every line.
_CONTEXT = ("request_id", "subject", "trace_id", "span_id")
_SCALAR = (str, int, float, UUID, type(None))
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_is_plain = re.compile(r"[A-Za-z0-9_./:@+,;%?&*~!#$^()<>|-]+").fullmatch
# Without what marks a field: an equals sign, two spaces, an opening quote, an escape.
_PLAIN_MESSAGE = re.compile(r"(?!.*  )[A-Za-z0-9(</][ -<>-\[\]-~]*(?<! )")

_RESET = "\x1b[0m"
_DIM, _BRIGHT, _CYAN = "\x1b[2m", "\x1b[1m", "\x1b[36m"
_OF_LEVEL = {
    "debug": "\x1b[34m",
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[1;31m",
}


class TextRenderer:
    """`2026-11-24 10:30:00.123Z  info      request  method=GET status=200  [app.access]`, the last step of structlog.

    A traceback follows on lines of its own, each of which begins with `CONTINUATION`, as no log line does.
    """

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: object, _method: str, fields: MutableMapping[str, Any]) -> str:
        """One line, without its end, and the lines of its traceback."""
        blocks = [fields.pop(name) for name in ("stack", "exception") if name in fields]
        timestamp, level = str(fields.pop("timestamp", "")), str(fields.pop("level", ""))
        logger = fields.pop("logger", None)
        message = _message(str(fields.pop("event", "")))
        context = [(name, fields.pop(name)) for name in _CONTEXT if name in fields]
        name = self._name
        parts = [
            self._in(_DIM, timestamp),
            self._in(_OF_LEVEL.get(level, ""), level.ljust(LEVEL_WIDTH)),
            self._in(_BRIGHT, message),
            " ".join([f"{name(key)}={_value(value)}" for key, value in (*fields.items(), *context)]),
            self._in(_DIM, f"[{_value(logger)}]") if logger else "",
        ]
        line = "  ".join([part for part in parts if part])
        if not blocks:
            return line
        lines = [_escape(line) for block in blocks for line in str(block or "").split("\n") if line]
        return "\n".join([line, *(CONTINUATION + line for line in lines)])

    def render_request(self, timestamp: str, level: str, fields: Mapping[str, Any], *, event: str, logger: str) -> str:
        """The same line of a request, whose `fields` have plain names and stand in the order of the line."""
        if self._colours:
            return self(None, "", {"timestamp": timestamp, "level": level, "event": event, "logger": logger, **fields})
        texts = [str(value) for value in fields.values()]
        if not (all(texts) and _is_plain("".join(texts))):
            texts = [_value(value) for value in fields.values()]
        pairs = " ".join([f"{name}={text}" for name, text in zip(fields, texts, strict=True)])
        return f"{timestamp}  {level:{LEVEL_WIDTH}}  {event}  {pairs}  [{logger}]"

    def _name(self, name: str) -> str:
        plain = _plain_name(name)
        return self._in(_CYAN, plain) if self._colours else plain

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colours and colour and text else text


@lru_cache(maxsize=256)
def _plain_name(name: str) -> str:
    return name if _NAME.fullmatch(name) else repr(name)


def _value(value: object) -> str:
    """`value` as it is when it is plain, else quoted and escaped as in Python."""
    if type(value) is int or type(value) is float:
        return str(value)
    text = str(value) if isinstance(value, _SCALAR) else repr(value)
    return text if _is_plain(text) else repr(text)


@lru_cache(maxsize=256)
def _message(text: str) -> str:
    return text if _PLAIN_MESSAGE.fullmatch(text) else repr(text)


def _escape(text: str) -> str:
    """`text` with everything that does not print escaped as in Python."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
