"""JSON as RFC 8259 with the promises of I-JSON (RFC 7493): one meaning for every reader, or a refusal."""

import json
import re
from typing import Any, NoReturn

INTEGER_BITS = 63
MAX_VALUES = 1_000_000

# Only such numbers can be too large. Without one, the decoder need not call back for each number.
_UNUSUAL_NUMBER = re.compile(r"\d{19}|\d[eE]")


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


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_names, parse_constant=_no_constant)
_CAREFUL_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_names, parse_constant=_no_constant, parse_float=_finite, parse_int=_bounded
)


def parse_json(raw: bytes) -> Any:
    """Read one JSON text.

    Refused beyond bad syntax: invalid UTF-8, duplicate names, NaN and infinities, integers beyond 64 bits, floats
    beyond IEEE 754 double, lone surrogates, NUL characters, nesting too deep to read, and more than a million values.

    Raises:
        json.JSONDecodeError: with a message that never quotes the input.
    """
    try:
        text = raw.decode()
        _check_number_of_values(raw)
        value = (_CAREFUL_DECODER if _UNUSUAL_NUMBER.search(text) else _DECODER).decode(text)
        if "\\u" in text:
            _check_strings(value)
    except UnicodeDecodeError:
        raise json.JSONDecodeError("the text is not UTF-8", "", 0) from None
    except RecursionError:
        raise json.JSONDecodeError("the text is nested too deeply", "", 0) from None
    except _Refusal as refusal:
        raise json.JSONDecodeError(str(refusal), "", 0) from None
    return value


def _check_number_of_values(raw: bytes) -> None:
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_VALUES:
        raise _Refusal("the text has too many values")


def _check_strings(value: Any) -> None:
    """Refuse what only escapes can bring in: lone surrogates and NUL."""
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
