"""Reads a JSON Web Token strictly: its form and header (RFC 7515), and its claims (RFC 7519, section 4.1).

Its refusals are problem details with the challenges of RFC 6750, section 3.
"""

import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self, TypeGuard

from app.auth.key_set import MAX_KEY_ID_LENGTH
from app.errors import ProblemError, Unavailable
from app.http.strict_json import parse_json

MAX_TOKEN_BYTES = 8192
MAX_SUBJECT_LENGTH = 255
_CHALLENGE = 'Bearer realm="sync-service"'
_SEGMENTS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})  # RFC 7519, section 5.1; RFC 9068, section 4
_MAX_BRACKETS = 256
_LAST_SECOND = 253_402_300_799  # of the year 9999


class Scope(StrEnum):
    """A permission that a token can grant."""

    READ = "read:sync"
    WRITE = "write:sync"
    ADMIN = "admin:sync"


class Reason(StrEnum):
    """Why a token was rejected. The value is a metrics label, `description` the text for the caller.

    A description is fixed text of the characters that RFC 6750 allows in `error_description`; it never contains
    anything from the token.
    """

    description: str

    def __new__(cls, value: str, description: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    MISSING = "missing", "Send a bearer token in the Authorization header."
    AMBIGUOUS = "ambiguous", "More than one Authorization header was sent."
    TOO_LARGE = "too_large", "The token is larger than 8192 bytes."
    MALFORMED = "malformed", "This is not a well-formed signed JSON Web Token."
    ALGORITHM = "algorithm", "The token is signed with an algorithm that is not accepted."
    HEADER = "header", "The header of the token has a parameter that is not accepted."
    KEY_ID = "key_id", "The header of the token has no usable key id (kid)."
    UNKNOWN_KEY = "unknown_key", "The token is signed with a key that is not known."
    SIGNATURE = "signature", "The signature of the token is not valid."
    CLAIMS = "claims", "A claim of the token (exp, nbf, iat, iss, aud) is missing or has the wrong type."
    SUBJECT = "subject", "The subject (sub) of the token is missing, too long or not printable."
    ISSUER = "issuer", "The token is from another issuer (iss)."
    AUDIENCE = "audience", "The token is for another audience (aud)."
    EXPIRED = "expired", "The token has expired (exp)."
    NOT_YET_VALID = "not_yet_valid", "The token is not valid yet (nbf)."
    ISSUED_LATER = "issued_later", "The token says it was issued in the future (iat)."


class TokenRejected(ProblemError):
    """401. The challenge has an error code only when a token was sent (RFC 6750, section 3.1)."""

    status, code = 401, "unauthenticated"
    reason: Reason

    def __init__(self, reason: Reason) -> None:
        challenge = _CHALLENGE
        if reason is not Reason.MISSING:
            challenge += f', error="invalid_token", error_description="{reason.description}"'
        super().__init__(reason.description, headers={"WWW-Authenticate": challenge})
        self.reason = reason


class ScopeMissing(ProblemError):
    """403; the challenge names the scope that is needed (RFC 6750, section 3.1)."""

    status, code = 403, "insufficient-scope"

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"This needs a token with the scope {scope}.",
            headers={"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'},
        )
        self.scope = scope


class KeysUnavailable(Unavailable):
    """503: there are no signing keys, so that no token can be verified."""

    code = "keys-unavailable"
    detail = "Tokens cannot be verified now, because the signing keys are out of reach; try again."


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller whose token was verified: its subject (1 to 255 printable characters) and its scopes.

    The token is not accepted from `refused_from` on (seconds since the epoch, the leeway included).
    """

    subject: str
    scopes: frozenset[str]
    refused_from: float


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """The claims that every token must have. `issuer` and `audience` are compared character by character."""

    issuer: str
    audience: str
    leeway_seconds: int


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A principal, and how long its token may be cached, in seconds since the epoch.

    From `valid_from`, which includes the leeway, until just before `expires_at`, which does not.
    """

    principal: Principal
    valid_from: float
    expires_at: float


def read_header(token: str, *, algorithms: frozenset[str], needs_key_id: bool) -> tuple[str, str]:
    """The algorithm and the key id of a token of sound form; the key id is empty where tokens need none.

    The parameters that contain a key or its address (`jwk`, `jku`, `x5c`, `x5u`) are ignored.

    Raises:
        TokenRejected: 401.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenRejected(Reason.TOO_LARGE)
    if not _SEGMENTS.fullmatch(token):
        raise TokenRejected(Reason.MALFORMED)
    segments = [_decode(segment) for segment in token.split(".")]
    header = _parse_object(segments[0])
    algorithm, kind, key_id = header.get("alg"), header.get("typ", "JWT"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise TokenRejected(Reason.ALGORITHM)
    if "crit" in header or "b64" in header or not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise TokenRejected(Reason.HEADER)
    if not needs_key_id:
        return algorithm, ""
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_LENGTH:
        raise TokenRejected(Reason.KEY_ID)
    return algorithm, key_id


def check_claims(payload: bytes, rules: ClaimRules, now: float) -> VerifiedToken:
    """Check every registered claim of a token with a valid signature, at `now` (seconds since the epoch).

    Raises:
        TokenRejected: 401.
    """
    claims = _parse_object(payload)
    issuer = claims.get("iss")
    if issuer != rules.issuer:
        raise TokenRejected(Reason.ISSUER if isinstance(issuer, str) else Reason.CLAIMS)
    if rules.audience not in _audiences(claims):
        raise TokenRejected(Reason.AUDIENCE)
    expires_at = _seconds(claims, "exp")
    not_before = _seconds(claims, "nbf") if "nbf" in claims else 0.0
    issued_at = _seconds(claims, "iat") if "iat" in claims else 0.0
    if now >= expires_at + rules.leeway_seconds:
        raise TokenRejected(Reason.EXPIRED)
    if now < not_before - rules.leeway_seconds:
        raise TokenRejected(Reason.NOT_YET_VALID)
    if now < issued_at - rules.leeway_seconds:
        raise TokenRejected(Reason.ISSUED_LATER)
    subject = claims.get("sub")
    if not is_subject(subject):
        raise TokenRejected(Reason.SUBJECT)
    valid_from = max(not_before, issued_at) - rules.leeway_seconds
    principal = Principal(subject, _scopes(claims), refused_from=expires_at + rules.leeway_seconds)
    return VerifiedToken(principal, valid_from, expires_at)


def is_subject(value: object) -> TypeGuard[str]:
    """Whether `value` can name a caller: 1 to 255 printable characters, so that no log line can be forged."""
    return isinstance(value, str) and 0 < len(value) <= MAX_SUBJECT_LENGTH and value.isprintable()


def _parse_object(raw: bytes) -> dict[str, Any]:
    """One JSON object, strictly: UTF-8, no name twice, no NaN, bounded depth."""
    # The number of brackets bounds the depth, also for python-jose, which reads the header once more.
    if raw.count(b"{") + raw.count(b"[") > _MAX_BRACKETS:
        raise TokenRejected(Reason.MALFORMED)
    try:
        value = parse_json(raw)
    except ValueError:
        raise TokenRejected(Reason.MALFORMED) from None
    if not isinstance(value, dict):
        raise TokenRejected(Reason.MALFORMED)
    return value


def _decode(segment: str) -> bytes:
    """Decode base64url in its one canonical spelling, so that no second token has the same signature."""
    if len(segment) % 4 == 1:
        raise TokenRejected(Reason.MALFORMED)
    raw = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if urlsafe_b64encode(raw).rstrip(b"=") != segment.encode():
        raise TokenRejected(Reason.MALFORMED)
    return raw


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRejected(Reason.CLAIMS)
    if not math.isfinite(value) or not 0 <= value <= _LAST_SECOND:
        raise TokenRejected(Reason.CLAIMS)
    return float(value)


def _audiences(claims: dict[str, Any]) -> list[str]:
    value = claims.get("aud")
    audiences = [value] if isinstance(value, str) else value
    if not _are_texts(audiences):
        raise TokenRejected(Reason.CLAIMS)
    return audiences


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    """The scopes of `scope` (RFC 8693, section 4.2) and of Auth0's `permissions`.

    A claim of the wrong type grants nothing, but the token is still valid for routes that need no scope.
    """
    scope, permissions = claims.get("scope"), claims.get("permissions")
    granted = scope.split(" ") if isinstance(scope, str) else []
    if _are_texts(permissions):
        granted += permissions
    return frozenset(granted) - {""}


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
