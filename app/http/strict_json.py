"""JSON as RFC 8259 with the promises of I-JSON (RFC 7493): every reader understands the same, or it is refused."""

import json
from typing import Any, NoReturn

from pydantic_core import from_json, to_json

INTEGER_BITS = 63
MAX_VALUES = 1_000_000

# With every digit a 0 and every E an e, numbers that can be too large are found without a regular expression, which
# takes fifty times as long for megabytes and lets no other thread run.
_CLASSES = bytes(ord("0") if chr(code) in "0123456789" else ord("e") if chr(code) in "eE" else 0 for code in range(256))


class _Refusal(ValueError):
    """A JSON text that reads, but does not mean the same to every reader."""


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refusal("an object has the same name twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise _Refusal("a number is too large")
    return number


def _bounded(text: str) -> int:
    # The length check comes first: converting a long digit string takes time quadratic in its length.
    if len(text) > 20 or not -(2**INTEGER_BITS) <= (number := int(text)) < 2**INTEGER_BITS:
        raise _Refusal("an integer does not fit into 64 bits; send it as a string")
    return number


def _no_constant(_text: str) -> NoReturn:
    raise _Refusal("NaN and Infinity are not JSON")


_LONG = b"0" * 19  # so many digits may not fit into 64 bits
_UNSURE: Any = object()
_DECODER = json.JSONDecoder(object_pairs_hook=_unique_names, parse_constant=_no_constant)
_CAREFUL_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_names, parse_constant=_no_constant, parse_float=_finite, parse_int=_bounded
)


def parse_json(raw: bytes | bytearray) -> Any:
    """Read one JSON text.

    Refused beyond bad syntax: invalid UTF-8, duplicate names, NaN and infinities, integers beyond 64 bits, floats
    beyond IEEE 754 double, lone surrogates, NUL characters, nesting too deep to read, and more than a million values.

    Raises:
        json.JSONDecodeError: with a message that never quotes the input.
    """
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_VALUES:
        raise json.JSONDecodeError("the text has too many values", "", 0)
    try:
        value = _read_plain(raw)
        return _read_careful(raw) if value is _UNSURE else value
    except UnicodeDecodeError:
        raise json.JSONDecodeError("the text is not UTF-8", "", 0) from None
    except RecursionError:
        raise json.JSONDecodeError("the text is nested too deeply", "", 0) from None
    except _Refusal as refusal:
        raise json.JSONDecodeError(str(refusal), "", 0) from None


def _read_plain(raw: bytes | bytearray) -> Any:
    """The value of a text that has neither `\\u` nor a long number, by a reader that is faster, or `_UNSURE`.

    That reader takes numbers that are too large as infinite, and of two equal names the last. But then the value,
    written again, has fewer strings than the text, and each string has two quotes more than there are quotes inside, in
    every spelling without `\\u`: as many quotes as before prove that no name was lost.
    """
    if b"\\u" in raw or _LONG in raw.translate(_CLASSES):
        return _UNSURE
    try:
        value = from_json(raw, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return _UNSURE  # the other reader reports why, or reads deeper nesting
    written = to_json(value)
    return value if raw.count(b'"') == written.count(b'"') and b"Infinity" not in written else _UNSURE


def _read_careful(raw: bytes | bytearray) -> Any:
    """The value of any text, by a reader that calls back for each number only where a number can be too large."""
    classes, text = raw.translate(_CLASSES), raw.decode()
    value = (_CAREFUL_DECODER if b"0e" in classes or _LONG in classes else _DECODER).decode(text)
    if "\\u" in text:
        _check_strings(value)
    return value


def _check_strings(value: Any) -> None:
    """Refuse characters that only escapes can produce: lone surrogates and NUL."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if "\0" in item:
                raise _Refusal("a string has a NUL character")
            if not item.isascii() and any("\ud800" <= character <= "\udfff" for character in item):
                raise _Refusal("a string has half of a surrogate pair")
        elif isinstance(item, dict):
            pending += (*item.keys(), *item.values())
        elif isinstance(item, list):
            pending += item
