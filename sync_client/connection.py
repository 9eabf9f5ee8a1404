"""Requests to one service: authorised, tried again while that may help, and their answers as types or errors."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from random import SystemRandom
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from sync_client.errors import Refused, SyncError, Unauthorized, Unavailable, UnexpectedAnswer, refusal
from sync_client.models import Problem
from sync_client.retry import RetryPolicy, is_temporary, retry_after_seconds
from sync_client.token import TokenSource

Content = TypeVar("Content")
OnRetry = Callable[[SyncError, float], None]
Query = Mapping[str, str | int | list[str]] | httpx.QueryParams


class Connection:
    """The requests of one client. `on_retry` is called with the error and the seconds before each further attempt."""

    def __init__(self, http: httpx.AsyncClient, token: TokenSource, policy: RetryPolicy, on_retry: OnRetry) -> None:
        self._http = http
        self._token = token
        self._policy = policy
        self._on_retry = on_retry
        self._random = SystemRandom()

    async def get(
        self,
        path: str,
        kind: TypeAdapter[Content],
        query: Query | None = None,
        *,
        policy: RetryPolicy | None = None,
        wait_seconds: int = 0,
    ) -> tuple[Content, httpx.Headers]:
        """The body of the answer as `kind`, and its headers; the service may hold the answer back `wait_seconds`.

        Raises:
            SyncError: as `client.SyncClient` says.
        """
        timeout = _longer(self._http.timeout, wait_seconds)
        return await self._send(kind, policy or self._policy, "GET", path, params=query, timeout=timeout)

    async def post(
        self, path: str, kind: TypeAdapter[Content], body: object, headers: Mapping[str, str] | None = None
    ) -> tuple[Content, httpx.Headers]:
        """The same for a request that records something, and that the service knows how to tell from its repetition."""
        return await self._send(kind, self._policy, "POST", path, json=body, headers=headers)

    async def _send(
        self, kind: TypeAdapter[Content], policy: RetryPolicy, method: str, path: str, **request: Any
    ) -> tuple[Content, httpx.Headers]:
        attempt = 1
        while True:
            try:
                response = await self._authorised(method, path, request)
                return _content(response, kind), response.headers
            except Unavailable as error:
                wait = policy.next_wait_seconds(attempt, self._random.random(), error.retry_after_seconds)
                if wait is None:
                    raise
                self._on_retry(error, wait)
                await asyncio.sleep(wait)
                attempt += 1

    async def _authorised(self, method: str, path: str, request: dict[str, Any]) -> httpx.Response:
        """A good answer. A refused token is replaced once, if its source gives another one."""
        token = await self._ask_token()
        try:
            return await self._once(method, path, token, request)
        except Unauthorized:
            if not self._token.refuse(token):
                raise
            return await self._once(method, path, await self._ask_token(), request)

    async def _ask_token(self) -> str:
        try:
            return await self._token.get()
        except httpx.TransportError as error:
            raise Unavailable(f"no token to be had ({_name(error)})") from error

    async def _once(self, method: str, path: str, token: str, request: dict[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", **(request.get("headers") or {})}
        try:
            response = await self._http.request(method, path, **{**request, "headers": headers})
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Unavailable(f"{self._http.base_url} does not answer ({_name(error)})") from error
        if response.is_success:
            return response
        refused = _refusal(response)
        if is_temporary(response.status_code):
            asked = retry_after_seconds(response.headers.get("Retry-After"), datetime.now(UTC))
            raise Unavailable(str(refused), asked)
        raise refused


def _content(response: httpx.Response, kind: TypeAdapter[Content]) -> Content:
    try:
        return kind.validate_json(response.content)
    except ValidationError as error:
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        if is_json and error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise Unavailable(f"{response.url.copy_with(query=None)} was cut short") from error
        raise UnexpectedAnswer(
            f"{response.url.copy_with(query=None)} does not answer as Sync Service does; check the address"
        ) from error


def _refusal(response: httpx.Response) -> Refused:
    """The error for a status that is not good; a body that is no problem document adds nothing."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        problem = Problem(title=response.reason_phrase)
    return refusal(response.status_code, problem)


def _longer(timeout: httpx.Timeout, seconds: int) -> httpx.Timeout:
    read = None if timeout.read is None else timeout.read + seconds
    return httpx.Timeout(connect=timeout.connect, read=read, write=timeout.write, pool=timeout.pool)


def _name(error: Exception) -> str:
    return str(error) or type(error).__name__
