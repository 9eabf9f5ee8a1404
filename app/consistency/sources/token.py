"""The bearer token for the sibling services: a fixed token, or a token that Auth0 issues for client credentials."""

import time
from collections.abc import Mapping
from urllib.parse import urlencode

from app.concurrency.task import SingleFlight
from app.config import Settings
from app.consistency.comparison import read_size
from app.consistency.sources.request import BACKGROUND, SourceError, ask, describe, read_object
from app.outbound.client import OutboundClient

RENEW_SECONDS = 60.0  # before the end of a token, or a tenth of its life when that is shorter
DEFAULT_LIFE_SECONDS = 300  # of a token without an expiry
FAILURE_SECONDS = 30.0  # until Auth0 is asked again after it has refused, or its new token was refused
_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


class TokenSource:
    """Gives each request its `Authorization`. Callers share the fetch under way (RFC 6749, section 4.4)."""

    def __init__(self, settings: Settings, client: OutboundClient) -> None:
        self._settings = settings
        self._client = client
        self._flight: SingleFlight[str, None] = SingleFlight("consistency-token")
        self._headers = _bearer(settings.consistency_token)  # none when neither a token nor credentials are set
        self._is_fixed = bool(settings.consistency_token) or not settings.auth0_client_id
        self._good_until = 0.0
        self._issued_at = 0.0
        self._failure = ""
        self._failed_until = 0.0

    async def headers(self) -> dict[str, str]:
        """The headers of a request; raises `SourceError` if Auth0 issues no token."""
        if not self._is_fixed and time.monotonic() >= self._good_until:
            if time.monotonic() < self._failed_until:
                raise SourceError(self._failure, unanswered=True)
            await self._flight.run("token", self._fetch)
        return self._headers

    def refuse(self, headers: Mapping[str, str]) -> None:
        """Note that a service has refused the token in `headers`, so that the next request gets a new one.

        When Auth0 has just issued it, a new one would be refused too: requests fail for 30 seconds.
        """
        if self._is_fixed or headers != self._headers:
            return
        now = time.monotonic()
        if now < self._good_until and now < self._issued_at + FAILURE_SECONDS:
            self._fail("cannot be asked: the token that Auth0 has just issued is refused")
        self._good_until = min(self._good_until, now)

    def close(self) -> None:
        """Cancel the fetch under way."""
        self._flight.close()

    async def _fetch(self) -> None:
        try:
            token, life_seconds = await self._request()
        except SourceError as error:
            self._fail(str(error))
            raise
        self._headers, self._issued_at = _bearer(token), time.monotonic()
        self._good_until = self._issued_at + life_seconds - min(RENEW_SECONDS, life_seconds / 10)

    def _fail(self, reason: str) -> None:
        self._failure, self._failed_until = reason, time.monotonic() + FAILURE_SECONDS

    async def _request(self) -> tuple[str, float]:
        settings = self._settings
        form = {
            "grant_type": "client_credentials",
            "client_id": settings.auth0_client_id,
            "client_secret": settings.auth0_client_secret,
            "audience": settings.api_audience,
        }
        url, body = f"https://{settings.auth0_domain}/oauth/token", urlencode(form).encode()
        who = "cannot be asked, since Auth0 issues no token: it "
        response = await ask(lambda: self._client.post(url, _FORM, body), BACKGROUND, who)
        if response.status_code != 200:
            raise SourceError(who + describe(response), unanswered=True)
        try:
            document = read_object(response.content)
        except SourceError as error:
            raise SourceError(f"{who}{error}", unanswered=True) from None
        token = document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token.strip():
            raise SourceError(f"{who}sends none", unanswered=True)
        return token, read_size(document.get("expires_in")) or DEFAULT_LIFE_SECONDS


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
