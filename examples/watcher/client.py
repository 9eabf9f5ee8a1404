"""Talks to Sync Service: posts events until they are taken, and asks how far they are."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from random import SystemRandom
from typing import Any

import httpx

from watcher.retry import RetryPolicy, is_temporary, retry_after_seconds
from watcher.state import Intent

TIMEOUT = httpx.Timeout(15.0, connect=5.0)
# The token or the address is wrong: every other event would fail in the same way.
_HOPELESS = frozenset({401, 403, 404, 405})


class Unavailable(Exception):
    """The service could not be reached, or was busy, for as many attempts as the policy allows."""

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Rejected(Exception):
    """The service refuses this one event for good."""


class Refused(Exception):
    """The service refuses us; nothing can be posted until the token or the address is put right."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The service has the event on disk; `replayed` says that it already had it from an earlier attempt."""

    event_id: str
    replayed: bool


@dataclass(frozen=True, slots=True)
class EventStatus:
    """How far the service is with an event; `state` is one of the service's words for it."""

    position: int
    state: str
    anomaly: str | None


class SyncClient:
    """One connection pool to one service. Waits end early when `stop` is set."""

    def __init__(self, http: httpx.AsyncClient, policy: RetryPolicy, stop: asyncio.Event) -> None:
        self._http = http
        self._policy = policy
        self._stop = stop
        self._random = SystemRandom()

    async def post(self, intent: Intent) -> Receipt:
        """Post an event; every attempt carries the same idempotency key, so it is recorded once.

        Raises:
            Unavailable, Rejected, Refused: as their names say; the message is fit to be shown.
        """
        attempt = 1
        while True:
            try:
                return await self._attempt(intent)
            except Unavailable as error:
                wait = max(self._policy.wait_seconds(attempt, self._random.random()), error.retry_after_seconds)
                attempt += 1
                if attempt > self._policy.attempts or wait > self._policy.patience_seconds:
                    raise
                await self._pause(wait)
                if self._stop.is_set():
                    raise

    async def find_status(self, event_id: str) -> EventStatus | None:
        """How far the event is, or None when that can not be told at the moment."""
        with contextlib.suppress(httpx.HTTPError, ValueError, KeyError, TypeError):
            response = await self._http.get(f"sync-events/{event_id}")
            if response.is_success:
                return _event_status(response.json())
        return None

    async def _attempt(self, intent: Intent) -> Receipt:
        body = {"file_id": intent.file_id, "event_type": intent.event_type, "metadata": intent.metadata}
        try:
            response = await self._http.post(
                "sync-events", json=body, headers={"Idempotency-Key": intent.idempotency_key}
            )
        except httpx.HTTPError as error:
            raise Unavailable(f"{self._http.base_url} does not answer ({_name(error)})") from error
        if response.is_success:
            return _receipt(response)
        if is_temporary(response.status_code):
            asked = retry_after_seconds(response.headers.get("Retry-After"), datetime.now(UTC))
            raise Unavailable(f"the service says {_problem(response)}", asked)
        if response.status_code in _HOPELESS or response.is_redirect:
            raise Refused(f"the service says {_problem(response)}; check --url and the token")
        raise Rejected(f"the service says {_problem(response)}")

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)


def _receipt(response: httpx.Response) -> Receipt:
    try:
        event_id = str(response.json()["event_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"{response.url} does not answer as Sync Service does; check --url") from error
    return Receipt(event_id, response.headers.get("Idempotency-Replayed") == "true")


def _event_status(event: dict[str, Any]) -> EventStatus:
    state = "processed" if event["processed"] else event.get("state", "pending")
    return EventStatus(event["position"], str(state), event.get("anomaly"))


def _problem(response: httpx.Response) -> str:
    """The status, and what RFC 9457 problem details add to it."""
    words = [str(response.status_code)]
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        problem = response.json()
        words += [str(problem[key]) for key in ("title", "detail") if problem.get(key)]
        words += [f"({'.'.join(map(str, item['loc']))}: {item['msg']})" for item in problem.get("errors") or []]
    return " ".join(words)


def _name(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
