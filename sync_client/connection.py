"""Requests to one service: authorized, retried while that may help, and their responses as types or errors."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from random import SystemRandom
from typing import Any, TypeVar
from uuid import UUID

import httpx
from pydantic import TypeAdapter, ValidationError

from sync_client.errors import InvalidCall, Refused, SyncError, Unauthorized, Unavailable, UnexpectedAnswer, refusal
from sync_client.face import Face
from sync_client.models import Problem
from sync_client.retry import RetryPolicy, is_temporary, retry_after_seconds
from sync_client.token import TokenSource

Content = TypeVar("Content")
OnRetry = Callable[[SyncError, float], None]
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One attempt of a request, for logs. It has neither the token nor the query nor a body.

    `status` is None when there was no response, and then `error` has the reason; `request_id` is in the service's log
    too.
    """

    method: str
    path: str
    status: int | None
    seconds: float
    request_id: str | None
    error: str | None = None


OnExchange = Callable[[Exchange], None]


@dataclass(frozen=True, slots=True)
class Hooks:
    """Called after each attempt, and with the error and the seconds to wait before each further one."""

    on_exchange: OnExchange = lambda _exchange: None
    on_retry: OnRetry = lambda _error, _seconds: None


@dataclass(frozen=True, slots=True)
class _Call:
    """A request as its caller sees it. `repeatable`: a repetition has no further effect."""

    method: str
    path: str
    policy: RetryPolicy
    repeatable: bool
    options: Mapping[str, Any]
    authorised: bool = True
    good: Callable[[int], bool] = httpx.codes.is_success


class Connection:
    """The requests of one client."""

    def __init__(self, face: Face, token: TokenSource, policy: RetryPolicy, hooks: Hooks) -> None:
        self.face = face
        self.policy = policy
        self._token = token
        self._hooks = hooks
        self._random = SystemRandom()

    async def get(
        self,
        path: str,
        kind: TypeAdapter[Content],
        query: httpx.QueryParams | None = None,
        *,
        policy: RetryPolicy | None = None,
        wait_seconds: int = 0,
    ) -> tuple[Content, httpx.Response]:
        """The body of the response as `kind`, and the response; the service may hold it back for `wait_seconds`.

        Raises:
            SyncError: see `client.SyncClient`.
        """
        timeout = _longer(self.face.http.timeout, wait_seconds)
        options = {"params": query, "timeout": timeout}
        return await self._content(kind, _Call("GET", path, policy or self.policy, repeatable=True, options=options))

    async def ask_once(self, path: str, kind: TypeAdapter[Content], good: Callable[[int], bool]) -> Content:
        """The body of the response to one request without a token, whatever its status, if that is `good`."""
        policy = RetryPolicy(attempts=1)
        call = _Call("GET", path, policy, repeatable=True, options={}, authorised=False, good=good)
        return (await self._content(kind, call))[0]

    async def send(
        self,
        method: str,
        path: str,
        kind: TypeAdapter[Content],
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> tuple[Content, httpx.Response]:
        """The same for a request that changes something.

        A request that is not `repeatable` is retried only when the service has certainly not acted on it.
        """
        options: dict[str, Any] = {"headers": dict(headers or {})}
        if body is not None:
            options["content"] = encode_json(body)
            options["headers"]["Content-Type"] = "application/json"
        return await self._content(kind, _Call(method, path, self.policy, repeatable=repeatable, options=options))

    async def _content(self, kind: TypeAdapter[Content], call: _Call) -> tuple[Content, httpx.Response]:
        attempt = 1
        while True:
            try:
                response = await self._authorised(call)
                return _parse(response, kind), response
            except Unavailable as error:
                wait = call.policy.next_wait_seconds(attempt, self._random.random(), error.retry_after_seconds)
                if wait is None or not (call.repeatable or error.not_acted_on):
                    raise
                self._hooks.on_retry(error, wait)
                await self.face.sleep(wait)
                attempt += 1

    async def _authorised(self, call: _Call) -> httpx.Response:
        """A good response. A refused token is replaced once, if its source gives another one."""
        if not call.authorised:
            return await self._once(call, None)
        token = await self._ask_token()
        try:
            return await self._once(call, token)
        except Unauthorized:
            if not self._token.refuse(token):
                raise
            return await self._once(call, await self._ask_token())

    async def _ask_token(self) -> str:
        try:
            return await self._token.get()
        except httpx.TransportError as error:
            raise Unavailable(f"cannot get a token ({_name(error)})", not_acted_on=True) from error

    async def _once(self, call: _Call, token: str | None) -> httpx.Response:
        response = await self._exchange(call, token)
        if call.good(response.status_code):
            return response
        refused = _refusal(response)
        if is_temporary(response.status_code):
            asked = retry_after_seconds(response.headers.get("Retry-After"), datetime.now(UTC))
            too_many = response.status_code == httpx.codes.TOO_MANY_REQUESTS
            raise Unavailable(str(refused), asked, not_acted_on=too_many)
        raise refused

    async def _exchange(self, call: _Call, token: str | None) -> httpx.Response:
        http = self.face.http
        if http.is_closed:
            raise InvalidCall("the client is closed")
        request = http.build_request(call.method, call.path, **call.options)
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        begun = time.monotonic()
        try:
            response = await self.face.send(request)
        except (httpx.TransportError, httpx.DecodingError) as error:
            self._tell(request, begun, None, _name(error))
            message = f"{http.base_url} does not respond ({_name(error)})"
            raise Unavailable(message, not_acted_on=isinstance(error, _NOT_SENT)) from error
        self._tell(request, begun, response, None)
        return response

    def _tell(self, request: httpx.Request, begun: float, response: httpx.Response | None, error: str | None) -> None:
        status = None if response is None else response.status_code
        request_id = None if response is None else response.headers.get("X-Request-ID")
        seconds = time.monotonic() - begun
        self._hooks.on_exchange(Exchange(request.method, request.url.path, status, seconds, request_id, error))


def encode_json(body: object) -> bytes:
    """Compact JSON.

    Raises:
        InvalidCall: JSON cannot represent `body`.
    """
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidCall(f"this cannot be sent as JSON: {type(error).__name__}") from error


def path_id(value: UUID | str) -> str:
    """The UUID as a part of a path.

    Raises:
        InvalidCall: it is not a UUID.
    """
    try:
        return str(UUID(str(value)))
    except ValueError as error:
        raise InvalidCall(f"this is not a UUID: {error}") from error


def bulk_body(wanted: Mapping[str, Any], up_to_position: int, expected: int) -> dict[str, Any]:
    """The body of a bulk request; a filter that is None is left out."""
    given = {name: value for name, value in wanted.items() if value is not None}
    return {"filter": given, "up_to_position": up_to_position, "expected": expected}


def _parse(response: httpx.Response, kind: TypeAdapter[Content]) -> Content:
    try:
        return kind.validate_json(
            response.content or (b"null" if response.status_code == httpx.codes.NO_CONTENT else b"")
        )
    except ValidationError as error:
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        if is_json and error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise Unavailable(f"{response.url.copy_with(query=None)} was cut short") from error
        raise UnexpectedAnswer(
            f"{response.url.copy_with(query=None)} does not respond as Sync Service does; check the address"
        ) from error


def _refusal(response: httpx.Response) -> Refused:
    """The error for a status that is not good; a body that is no problem document adds nothing."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        problem = Problem(title=response.reason_phrase)
    return refusal(response.status_code, problem, response.headers.get("X-Request-ID"))


def _longer(timeout: httpx.Timeout, seconds: int) -> httpx.Timeout:
    read = None if timeout.read is None else timeout.read + seconds
    return httpx.Timeout(connect=timeout.connect, read=read, write=timeout.write, pool=timeout.pool)


def _name(error: Exception) -> str:
    return str(error) or type(error).__name__
