"""Sources of signing keys for the verifier; the issuer's keys are fetched, cached and refreshed."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import httpx
import structlog
from jose.backends.base import Key

from app.auth.key_set import parse_key_set
from app.auth.local import LocalKey
from app.auth.token import KeysUnavailable
from app.concurrency.task import PeriodicTask, SingleFlight
from app.config import Settings
from app.config.types import PLACEHOLDERS
from app.log.sparing import SparingLog
from app.metrics import AuthMetrics

MAX_DOCUMENT_BYTES = 256 * 1024
_RETRY_SECONDS = 2.0  # between fetches while there is no key at all, so that the service recovers soon from an outage

log = structlog.get_logger(__name__)


class KeySource(Protocol):
    """Keys that verify signatures."""

    def generation(self) -> int:
        """A number that grows whenever a key was added, removed or dropped for its age."""
        ...

    def ready(self) -> bool:
        """Whether there is any key to verify tokens with."""
        ...

    async def find(self, key_id: str, algorithm: str) -> Key | None:
        """The key named `key_id`, prepared for `algorithm`, or None when there is none.

        Raises:
            KeysUnavailable: it is not known now whether there is such a key.
        """
        ...


class KeyFetchError(Exception):
    """The response of the key server cannot be used."""


class KeyStore:
    """The keys of one JSON Web Key Set, found by key id.

    Each fetched document replaces all keys together. `refresh` fetches one. An unknown key id also causes a fetch, but
    at most once per `JWKS_COOLDOWN_SECONDS` unless that fetch finds the key. Callers share the fetch under way. A
    failed fetch changes nothing. Keys that no fetch confirmed for `JWKS_MAX_AGE_SECONDS` are dropped.
    """

    def __init__(
        self, settings: Settings, *, metrics: AuthMetrics | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = f"https://{settings.auth0_domain}/.well-known/jwks.json"
        self._algorithms = frozenset(settings.algorithms)
        self._settings = settings
        self._clock = clock
        self._metrics = metrics or AuthMetrics()
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            timeout=settings.jwks_timeout_seconds,
            limits=httpx.Limits(max_keepalive_connections=0),
            # Compressed, a small response could grow beyond the size limit in a single step.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "sync-service"},
        )
        self._keys: dict[tuple[str, str], Key] = {}
        self._generation = 0
        self._confirmed_at = self._cooldown_until = self._retry_at = clock()
        self._log = SparingLog(__name__)
        self._fetches: SingleFlight[str, bool] = SingleFlight("jwks-fetch")

    def generation(self) -> int:
        """See `KeySource`. A document with the same keys as before keeps the number."""
        self._drop_aged()
        return self._generation

    def ready(self) -> bool:
        self._drop_aged()
        return bool(self._keys)

    async def find(self, key_id: str, algorithm: str) -> Key | None:
        """See `KeySource`. Waits for a fetch, for `JWKS_TIMEOUT_SECONDS` at most, only when the key is not known.

        Raises:
            KeysUnavailable: no fetch ever succeeded, or none within `JWKS_MAX_AGE_SECONDS`.
        """
        self._drop_aged()
        name = (key_id, algorithm)
        if name not in self._keys and self._may_fetch():
            await self.refresh()
            if name in self._keys:
                self._cooldown_until = self._clock()
        if not self.ready():
            raise KeysUnavailable(retry_after_seconds=max(1, math.ceil(self._retry_at - self._clock())))
        return self._keys.get(name)

    async def refresh(self) -> bool:
        """Fetch the keys now, or wait for the fetch under way. A failure is logged, and returned as False."""
        return await self._fetches.run(self._url, self._replace_keys)

    async def refresh_if_due(self) -> None:
        """Fetch the keys unless a fetch succeeded within `JWKS_REFRESH_SECONDS`."""
        if not self._keys or self._clock() - self._confirmed_at >= self._settings.jwks_refresh_seconds:
            await self.refresh()

    async def close(self) -> None:
        self._fetches.close()
        await self._fetches.wait_closed()
        await self._client.aclose()

    def _may_fetch(self) -> bool:
        """Whether a caller without its key may wait for a fetch; the cool-down begins if it starts one."""
        if self._fetches.is_under_way(self._url):
            return True
        now = self._clock()
        if now < (self._cooldown_until if self._keys else self._retry_at):
            return False
        self._cooldown_until = now + self._settings.jwks_cooldown_seconds
        return True

    async def _replace_keys(self) -> bool:
        started_at = self._clock()
        try:
            async with asyncio.timeout(self._settings.jwks_timeout_seconds):
                document = await self._download()
            keys = parse_key_set(document, self._algorithms)
        except asyncio.CancelledError:
            return False  # the store is closed; callers that share the fetch must not be cancelled with it
        except Exception as error:  # noqa: BLE001 - after any response of the key server, good keys stay
            self._retry_at = self._clock() + min(_RETRY_SECONDS, self._settings.jwks_cooldown_seconds)
            self._metrics.key_refreshes.labels("failure").inc()
            self._log.warning("fetching the signing keys failed", url=self._url, error=repr(error)[:200])
            return False
        if _public(keys) != _public(self._keys):
            self._generation += 1
            log.info("the signing keys have changed", keys=len(keys))
        self._keys, self._confirmed_at = keys, started_at
        self._metrics.key_refreshes.labels("success").inc()
        self._metrics.keys_confirmed.set_to_current_time()
        return True

    async def _download(self) -> bytes:
        async with self._client.stream("GET", self._url) as response:
            if response.status_code != httpx.codes.OK:
                raise KeyFetchError(f"status {response.status_code}")
            document = bytearray()
            async for chunk in response.aiter_raw():
                document += chunk
                if len(document) > MAX_DOCUMENT_BYTES:
                    raise KeyFetchError(f"larger than {MAX_DOCUMENT_BYTES} bytes")
        return bytes(document)

    def _drop_aged(self) -> None:
        if self._keys and self._clock() - self._confirmed_at >= self._settings.jwks_max_age_seconds:
            self._keys = {}
            self._generation += 1
            log.error("the signing keys are too old to be used", url=self._url)


def _public(keys: dict[tuple[str, str], Key]) -> dict[tuple[str, str], object]:
    return {name: key.to_dict() for name, key in keys.items()}


@asynccontextmanager
async def open_keys(settings: Settings, metrics: AuthMetrics) -> AsyncIterator[KeySource]:
    """The keys that verify tokens, by the mode that is on; in Auth0 mode fetched immediately and then refreshed.

    Raises:
        LocalSecretError: the key of local mode cannot be read or created.
    """
    _report_mode(settings)
    if settings.local_mode:
        yield LocalKey(settings)
        return
    store = KeyStore(settings, metrics=metrics)
    interval = min(settings.jwks_refresh_seconds, settings.jwks_cooldown_seconds)
    refresh = PeriodicTask("jwks-refresh", lambda _stopping: store.refresh_if_due(), interval, at_once=True)
    refresh.start()
    try:
        yield store
    finally:
        await refresh.stop(settings.jwks_timeout_seconds)
        await store.close()


def _report_mode(settings: Settings) -> None:
    if settings.local_mode:
        log.warning("local mode: tokens are minted by `python -m app token`; set AUTH0_DOMAIN to use Auth0")
    elif settings.auth0_domain in PLACEHOLDERS:
        log.warning(
            "AUTH0_DOMAIN still has its placeholder value: no token will be accepted",
            domain=settings.auth0_domain,
        )
    else:
        if settings.secret_key in PLACEHOLDERS:
            log.warning("SECRET_KEY is a placeholder and counts as empty: webhooks need WEBHOOK_ENCRYPTION_KEYS")
        log.warning("Auth0 mode", domain=settings.auth0_domain, audience=settings.api_audience)
