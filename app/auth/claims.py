"""Judges the claims of a token whose signature is good (RFC 7519, section 4.1)."""

import math
from dataclasses import dataclass
from typing import Any, TypeGuard

from app.auth.compact import parse_object
from app.auth.errors import Reason, TokenRejected
from app.auth.principal import Principal

MAX_SUBJECT_LENGTH = 255
_LAST_SECOND = 253_402_300_799  # of the year 9999; what lies beyond is no date


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """What every token must say. `issuer` and `audience` are compared character by character."""

    issuer: str
    audience: str
    leeway_seconds: int


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A principal, and when its token is good beyond doubt, in seconds since the epoch.

    That is from `valid_from`, which has the leeway in it, until just before `expires_at`, which has not.
    """

    principal: Principal
    valid_from: float
    expires_at: float


def judge_claims(payload: bytes, rules: ClaimRules, now: float) -> VerifiedToken:
    """Check every registered claim, at `now` (seconds since the epoch).

    Raises:
        TokenRejected: 401.
    """
    claims = parse_object(payload)
    if _text(claims, "iss") != rules.issuer:
        raise TokenRejected(Reason.ISSUER)
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
    """Whether `value` can name a caller: 1 to 255 printing characters, so that no log line can be forged."""
    return isinstance(value, str) and 0 < len(value) <= MAX_SUBJECT_LENGTH and value.isprintable()


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise TokenRejected(Reason.CLAIMS)
    return value


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

    A claim of the wrong type grants nothing, but does not spoil the token: it is still good where no scope is
    needed.
    """
    scope, permissions = claims.get("scope"), claims.get("permissions")
    granted = scope.split(" ") if isinstance(scope, str) else []
    if _are_texts(permissions):
        granted += permissions
    return frozenset(granted) - {""}


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
