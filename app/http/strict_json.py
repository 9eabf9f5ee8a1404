"""JSON as RFC 8259 with the promises of I-JSON (RFC 7493): one meaning for every reader, or a refusal."""

import json
from collections.abc import AsyncGenerator
from email.message import Message
from typing import Any, NoReturn

from fastapi import HTTPException, Request
from starlette.types import Receive, Scope

from app.errors import ProblemError

INTEGER_BITS = 63


class UnsupportedMediaType(ProblemError):
    """415."""

    status, code = 415, "unsupported-media-type"
    detail = "Send JSON in UTF-8, not compressed, with one header `Content-Type: application/json`."


class ContentTooLarge(HTTPException):
    """413. An `HTTPException`, since FastAPI answers 400 to any other that comes while it reads a body."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413, f"The body is larger than {limit_bytes} bytes.")


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


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_names, parse_float=_finite, parse_int=_bounded, parse_constant=_no_constant
)


def parse_json(raw: bytes) -> Any:
    """Read one JSON text.

    Refused beyond bad syntax: invalid UTF-8, duplicate names, NaN and infinities, integers beyond 64 bits, floats
    beyond IEEE 754 double, lone surrogates, NUL characters, and nesting too deep to read.

    Raises:
        json.JSONDecodeError: with a message that never quotes the input.
    """
    try:
        text = raw.decode()
        value = _DECODER.decode(text)
        if "\\u" in text:
            _check_strings(value)
    except UnicodeDecodeError:
        raise json.JSONDecodeError("the text is not UTF-8", "", 0) from None
    except RecursionError:
        raise json.JSONDecodeError("the text is nested too deeply", "", 0) from None
    except _Refusal as refusal:
        raise json.JSONDecodeError(str(refusal), "", 0) from None
    return value


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


class StrictRequest(Request):
    """A request whose JSON body is read by `parse_json`, as long as it has at most `max_body_bytes`."""

    def __init__(self, scope: Scope, receive: Receive, *, max_body_bytes: int | None = None) -> None:
        super().__init__(scope, receive)
        self._max_body_bytes = max_body_bytes

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body in chunks; nothing is read of one whose declared length is too large.

        Raises:
            ContentTooLarge: 413.
        """
        limit = self._max_body_bytes
        if limit is not None and _declared_bytes(self) > limit:
            raise ContentTooLarge(limit)
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if limit is not None and size > limit:
                raise ContentTooLarge(limit)
            yield chunk

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            json.JSONDecodeError: which FastAPI answers with 422.
        """
        return parse_json(await self.body())


def require_json(request: Request) -> None:
    """Refuse a body that is not declared as JSON in UTF-8, without a content coding.

    Raises:
        UnsupportedMediaType: 415.
    """
    declared = request.headers.getlist("content-type")
    if len(declared) != 1 or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType
    header = Message()
    header["content-type"] = declared[0]
    subtype = header.get_content_subtype()
    is_json = header.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))
    if not is_json or str(header.get_param("charset", "utf-8")).lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMediaType


def _declared_bytes(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else 0
