"""Renders log lines as text for people: nothing that a value holds can end its line, colour it or pose as a field."""

import re
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any
from uuid import UUID

CONTINUATION = "    | "
LEVEL_WIDTH = 8

# Who and where come last, so that what happened is found at the same place in every line.
_CONTEXT = ("request_id", "subject", "trace_id", "span_id")
_SCALAR = (str, int, float, UUID, type(None))
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+,;%?&*~!#$^()<>|-]+")
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
        blocks = [fields.pop(name, None) for name in ("stack", "exception")]
        timestamp, level = str(fields.pop("timestamp", "")), str(fields.pop("level", ""))
        logger = fields.pop("logger", None)
        message = _message(str(fields.pop("event", "")))
        context = [(name, fields.pop(name)) for name in _CONTEXT if name in fields]
        parts = [
            self._in(_DIM, timestamp),
            self._in(_OF_LEVEL.get(level, ""), level.ljust(LEVEL_WIDTH)),
            self._in(_BRIGHT, message),
            " ".join([f"{self._name(name)}={_value(value)}" for name, value in (*fields.items(), *context)]),
            self._in(_DIM, f"[{_value(logger)}]") if logger else "",
        ]
        lines = ["  ".join([part for part in parts if part])]
        for block in blocks:
            lines += [CONTINUATION + _escape(line) for line in str(block or "").split("\n") if line]
        return "\n".join(lines)

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
    text = str(value) if isinstance(value, _SCALAR) else repr(value)
    return text if _PLAIN.fullmatch(text) else repr(text)


@lru_cache(maxsize=256)
def _message(text: str) -> str:
    return text if _PLAIN_MESSAGE.fullmatch(text) else repr(text)


def _escape(text: str) -> str:
    """`text` with everything that does not print escaped as in Python."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
