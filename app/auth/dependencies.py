"""The verifier of bearer tokens, and the dependencies that return the caller and check its scope."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from jose import jws
from jose.backends.base import Key
from jose.exceptions import JOSEError

from app.auth.keys import KeySource
from app.auth.local import LOCAL_ALGORITHM, LOCAL_ISSUER
from app.auth.token import (
    ClaimRules,
    Principal,
    Reason,
    Scope,
    ScopeMissing,
    TokenRejected,
    VerifiedToken,
    check_claims,
    read_header,
)
from app.concurrency.fair_semaphore import caller
from app.config import Settings
from app.log.request_line import bind_request_fields
from app.metrics import Metrics

_documented_scheme = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    scheme_name="bearer",
    description="A JSON Web Token, from Auth0 or, in local mode, from `python -m app token`.",
)


class TokenVerifier:
    """Verifies bearer tokens with the keys of `keys`; `now` returns the seconds since the epoch.

    A verified token is cached under its digest until it expires or any key changes. The cache holds
    `AUTH_TOKEN_CACHE_SIZE` tokens and evicts the least recently used.
    """

    def __init__(self, settings: Settings, keys: KeySource, *, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._now = now
        self._needs_key_id = not settings.local_mode
        self._algorithms = frozenset({LOCAL_ALGORITHM} if settings.local_mode else settings.algorithms)
        self._rules = ClaimRules(
            issuer=LOCAL_ISSUER if settings.local_mode else f"https://{settings.auth0_domain}/",
            audience=settings.api_audience,
            leeway_seconds=settings.auth_leeway_seconds,
        )
        self._cache: OrderedDict[bytes, VerifiedToken] = OrderedDict()
        self._cache_size = settings.auth_token_cache_size
        self._cached_generation = keys.generation()

    async def verify(self, token: str) -> Principal:
        """The principal that `token` proves.

        Raises:
            TokenRejected: 401, the token is not valid.
            KeysUnavailable: 503, there are no keys to verify it with.
        """
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        cached = self._find_cached(digest)
        if cached is not None:
            return cached.principal
        algorithm, key_id = read_header(token, algorithms=self._algorithms, needs_key_id=self._needs_key_id)
        key = await self._keys.find(key_id, algorithm)
        if key is None:
            raise TokenRejected(Reason.UNKNOWN_KEY)
        # Nothing is awaited from here on: a token is only cached if the current keys prove it.
        verified = check_claims(_signed_payload(token, key, algorithm), self._rules, self._now())
        self._cache[digest] = verified
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return verified.principal

    def _find_cached(self, digest: bytes) -> VerifiedToken | None:
        generation = self._keys.generation()
        if generation != self._cached_generation:
            self._cache.clear()
            self._cached_generation = generation
        token = self._cache.get(digest)
        if token is None:
            return None
        now = self._now()
        if now >= token.expires_at:
            del self._cache[digest]
            return None
        self._cache.move_to_end(digest)
        return token if token.valid_from <= now else None


def _signed_payload(token: str, key: Key, algorithm: str) -> bytes:
    try:
        return jws.verify(token, key, [algorithm])
    except JOSEError:
        raise TokenRejected(Reason.SIGNATURE) from None


async def authenticate(request: Request) -> Principal:
    """The caller that sent `request`, verified by `request.state.verifier`.

    It is kept on `request.state.principal`. The log lines that follow carry `subject`, and permits count for it.

    Raises:
        TokenRejected: 401.
        KeysUnavailable: 503.
    """
    verified: Principal | None = request.scope["state"].get("principal")
    if verified is not None:
        return verified
    verifier: TokenVerifier = request.state.verifier
    principal = await verifier.verify(_bearer_token(request.headers.getlist("Authorization")))
    request.state.principal = principal
    caller.set(principal.subject)
    bind_request_fields(subject=principal.subject)
    return principal


def _bearer_token(headers: list[str]) -> str:
    """The token of the one `Authorization: Bearer <token>` header (RFC 6750, section 2.1)."""
    if len(headers) > 1:
        raise TokenRejected(Reason.AMBIGUOUS)
    scheme, _, token = (headers[0] if headers else "").partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenRejected(Reason.MISSING)
    return token


class Permission:
    """A dependency that returns the principal if its token has `scope`.

    Unless `always`, the scope matters only with `AUTH_ENFORCE_SCOPES=true`. Expects `settings` and `metrics` on
    `request.state`.
    """

    def __init__(self, scope: Scope, *, always: bool = False) -> None:
        self._scope = scope
        self._always = always

    async def __call__(self, request: Request, _scheme: Annotated[object, Depends(_documented_scheme)]) -> Principal:
        return await self.check(request)

    async def check(self, request: Request) -> Principal:
        """The principal, if its token is valid and has the scope.

        Raises:
            TokenRejected: 401.
            ScopeMissing: 403.
            KeysUnavailable: 503.
        """
        metrics: Metrics = request.state.metrics
        try:
            principal = await authenticate(request)
        except TokenRejected as error:
            metrics.auth.rejections.labels(error.reason).inc()
            raise
        settings: Settings = request.state.settings
        if (self._always or settings.auth_enforce_scopes) and self._scope not in principal.scopes:
            metrics.auth.rejections.labels("scope").inc()
            raise ScopeMissing(self._scope)
        return principal


Reader = Annotated[Principal, Security(Permission(Scope.READ), scopes=[Scope.READ])]
Writer = Annotated[Principal, Security(Permission(Scope.WRITE), scopes=[Scope.WRITE])]
Operator = Annotated[Principal, Security(Permission(Scope.ADMIN, always=True), scopes=[Scope.ADMIN])]
