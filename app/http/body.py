"""Reads request bodies: as JSON, of bounded size, in bounded time."""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import HTTPException, Request
from starlette.types import Receive, Scope

from app.errors import ProblemError
from app.http.strict_json import parse_json

# From this size on a body is parsed in a thread, so that it does not hold up other requests.
THREAD_FROM_BYTES = 65_536
_JSON_IN_UTF8 = re.compile(
    r'application/([\w.-]+\+)?json([ \t]*;[ \t]*charset=("utf-?8"|utf-?8))?[ \t]*;?', re.ASCII | re.IGNORECASE
)


class UnsupportedMediaType(ProblemError):
    """415."""

    status, code = 415, "unsupported-media-type"
    detail = "Send JSON in UTF-8, not compressed, with one header `Content-Type: application/json`."


class ContentTooLarge(HTTPException):
    """413. An `HTTPException`, since FastAPI answers 400 to any other that comes while it reads a body."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413, f"The body is larger than {limit_bytes} bytes.", {"Connection": "close"})


class BodyTooSlow(HTTPException):
    """408."""

    def __init__(self, limit_seconds: float) -> None:
        super().__init__(408, f"The body did not come within {limit_seconds:g} seconds.", {"Connection": "close"})


class JsonRequest(Request):
    """A request whose body is strict JSON of at most `max_bytes` that comes within `timeout_seconds`."""

    def __init__(self, scope: Scope, receive: Receive, *, max_bytes: int, timeout_seconds: float) -> None:
        super().__init__(scope, receive)
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body in chunks; nothing is read of one whose declared length is too large.

        Raises:
            ContentTooLarge: 413.
        """
        declared = self.headers.get("content-length", "")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > self._max_bytes):
            raise ContentTooLarge(self._max_bytes)
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size > self._max_bytes:
                raise ContentTooLarge(self._max_bytes)
            yield chunk

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            ContentTooLarge: 413.
            BodyTooSlow: 408.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await super().body()
        except TimeoutError:
            raise BodyTooSlow(self._timeout_seconds) from None

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            json.JSONDecodeError: which FastAPI answers with 422.
        """
        raw = await self.body()
        return parse_json(raw) if len(raw) < THREAD_FROM_BYTES else await asyncio.to_thread(parse_json, raw)


def require_json(request: Request) -> None:
    """Refuse a body that is not declared as JSON in UTF-8, without a content coding.

    Raises:
        UnsupportedMediaType: 415.
    """
    declared = request.headers.getlist("content-type")
    coding = request.headers.get("content-encoding", "identity").lower()
    if len(declared) != 1 or coding != "identity" or not _JSON_IN_UTF8.fullmatch(declared[0].strip()):
        raise UnsupportedMediaType
