"""Reads request bodies: as JSON, of bounded size, in bounded time."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from fastapi import HTTPException, Request
from starlette.types import Receive, Scope

from app.concurrency.fair_semaphore import FairSemaphore, Permit, caller
from app.config import Settings
from app.errors import ProblemError, Unavailable
from app.http.middleware import ClientDisconnected
from app.http.strict_json import parse_json

# From this size on a body is parsed in a thread, so that it delays no other request.
THREAD_FROM_BYTES = 262_144
LARGE_BODIES = 4  # of the largest size, that are read and written concurrently
# So much of a body is read before it waits for a permit, so that a mere announcement holds none.
FREE_BYTES = 32_768
_JSON_IN_UTF8 = re.compile(
    r'application/([\w.-]+\+)?json([ \t]*;[ \t]*charset=("utf-?8"|utf-?8))?[ \t]*;?', re.ASCII | re.IGNORECASE
)


class UnsupportedMediaType(ProblemError):
    status, code = 415, "unsupported-media-type"
    detail = "Send JSON in UTF-8, not compressed, with one header `Content-Type: application/json`."


class ContentTooLarge(HTTPException):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413, f"The body is larger than {limit_bytes} bytes.", {"Connection": "close"})


class BodyTooSlow(HTTPException):
    def __init__(self, limit_seconds: float) -> None:
        super().__init__(408, f"The body did not come within {limit_seconds:g} seconds.", {"Connection": "close"})


class TooManyLargeBodies(Unavailable):
    """503, after a part of the body was read."""

    code, detail = "too-many-large-bodies", "Too many large bodies are under way; try again."


class LargeBodies(FairSemaphore):
    """Limits the bytes of large bodies that are read, parsed and written concurrently.

    Large bodies are parsed one at a time, under the lock `parsing`: many in one iteration of the event loop, or several
    threads that compute, would delay the rest of the process for seconds.
    """

    def __init__(self, total: int, *, timeout_seconds: float, on_reject: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            total,
            resource="large bodies under way",
            busy=TooManyLargeBodies,
            timeout_seconds=timeout_seconds,
            on_reject=on_reject,
        )
        self.parsing = asyncio.Lock()

    @classmethod
    def of(cls, settings: Settings, on_reject: Callable[[], None]) -> "LargeBodies":
        """Room for some batches of the largest size that the settings allow."""
        total = LARGE_BODIES * settings.max_batch_bytes
        return cls(total, timeout_seconds=settings.database_pool_timeout, on_reject=on_reject)


class JsonRequest(Request):
    """A request whose body is strict JSON of at most `max_bytes` that comes within `timeout_seconds`.

    A body that has arrived already needs no timer, which would be a thirtieth of a POST.

    More than `FREE_BYTES` of it are read only with a permit of `large_bodies`, which is held until `release`.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        *,
        max_bytes: int,
        timeout_seconds: float,
        has_arrived: bool,
        large_bodies: LargeBodies,
    ) -> None:
        super().__init__(scope, receive)
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._has_arrived = has_arrived
        self._large_bodies = large_bodies
        self._permit: Permit | None = None
        self._raw = bytearray()
        self._has_more = True

    async def body(self) -> bytes:
        """Read the whole body, for `json`, and return its first byte.

        FastAPI keeps the return value until the response is sent, which would be megabytes for nothing. It responds 400
        to an error that is raised while it reads a body, so its callers read it before.

        Raises:
            ContentTooLarge: 413; nothing is read of a body whose declared length is too large.
            BodyTooSlow: 408.
            ConcurrencyLimited: 429.
            TooManyLargeBodies: 503.
            ClientDisconnected: 499.
        """
        declared = self.headers.get("content-length", "")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > self._max_bytes):
            raise ContentTooLarge(self._max_bytes)
        size = int(declared) if declared.isdigit() else self._max_bytes
        if self._has_arrived:
            await self._receive_all(size)
        else:
            try:
                async with asyncio.timeout(self._timeout_seconds) as limit:
                    await self._receive_all(size, limit)
            except TimeoutError:
                raise BodyTooSlow(self._timeout_seconds) from None
        return bytes(self._raw[:1])

    async def json(self) -> Any:
        """The body as JSON, once it has been read; the bytes are dropped.

        Raises:
            json.JSONDecodeError: FastAPI responds with 422.
        """
        raw, self._raw = self._raw, bytearray()
        if self._permit is None:
            return parse_json(raw)
        async with self._large_bodies.parsing:
            if len(raw) >= THREAD_FROM_BYTES:
                return await asyncio.to_thread(self._parse_and_clear, raw)
            value = parse_json(raw)
            await asyncio.sleep(0)  # one per iteration of the event loop, so that probes do not wait for many
            return value

    async def _receive_all(self, size_bytes: int, limit: asyncio.Timeout | None = None) -> None:
        """Receive the rest of a body of at most `size_bytes`; `limit` does not run while it waits for its permit."""
        while self._has_more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            chunk: bytes = message.get("body", b"")
            self._has_more = message.get("more_body", False)
            if len(self._raw) + len(chunk) > self._max_bytes:
                raise ContentTooLarge(self._max_bytes)
            self._raw += chunk
            if len(self._raw) > FREE_BYTES and self._permit is None:
                if limit is not None:
                    limit.reschedule(None)  # the client waits for us
                await self._acquire_permit(size_bytes)
                if limit is not None:
                    limit.reschedule(asyncio.get_running_loop().time() + self._timeout_seconds)

    def release(self) -> None:
        """Release the permit; nothing of the body is in use any more."""
        self._raw.clear()
        if self._permit is not None:
            self._permit.release()

    def _parse_and_clear(self, raw: bytearray) -> Any:
        try:
            return parse_json(raw)
        finally:
            raw.clear()  # the traceback of an error would keep it in memory

    async def _acquire_permit(self, size_bytes: int) -> None:
        try:
            self._permit = await self._large_bodies.acquire(caller.get() or "", size_bytes)
        except ProblemError as error:
            error.headers["Connection"] = "close"  # the rest of the body is not read
            raise


def require_json(request: Request) -> None:
    """Refuse a body that is not declared as JSON in UTF-8, without a content coding.

    Raises:
        UnsupportedMediaType: 415.
    """
    declared = request.headers.getlist("content-type")
    coding = request.headers.get("content-encoding", "identity").lower()
    if len(declared) != 1 or coding != "identity" or not _JSON_IN_UTF8.fullmatch(declared[0].strip()):
        raise UnsupportedMediaType
