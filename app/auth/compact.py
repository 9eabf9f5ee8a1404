"""Reads the outside of a token: the compact serialisation and the header of a JWS (RFC 7515), strictly."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

from app.auth.errors import Reason, TokenRejected
from app.auth.key_set import MAX_KEY_ID_LENGTH
from app.http.strict_json import parse_json

MAX_TOKEN_BYTES = 8192
_SEGMENTS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})  # RFC 7519, section 5.1; RFC 9068, section 4
_MAX_BRACKETS = 256


@dataclass(frozen=True, slots=True)
class TokenHeader:
    """What the header says about the signature. `key_id` is empty where tokens need none."""

    algorithm: str
    key_id: str


def read_header(token: str, *, algorithms: frozenset[str], needs_key_id: bool) -> TokenHeader:
    """Check the form of `token` and its header, before any key is looked for.

    Parameters that bring a key or its address along (`jwk`, `jku`, `x5c`, `x5u`) mean nothing here.

    Raises:
        TokenRejected: 401.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenRejected(Reason.TOO_LARGE)
    if not _SEGMENTS.fullmatch(token):
        raise TokenRejected(Reason.MALFORMED)
    segments = [_decode(segment) for segment in token.split(".")]
    header = parse_object(segments[0])
    algorithm, kind, key_id = header.get("alg"), header.get("typ", "JWT"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise TokenRejected(Reason.ALGORITHM)
    if "crit" in header or "b64" in header or not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise TokenRejected(Reason.HEADER)
    if not needs_key_id:
        return TokenHeader(algorithm, "")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_LENGTH:
        raise TokenRejected(Reason.KEY_ID)
    return TokenHeader(algorithm, key_id)


def parse_object(raw: bytes) -> dict[str, Any]:
    """One JSON object, strictly: UTF-8, no name twice, no NaN, bounded depth.

    Raises:
        TokenRejected: 401.
    """
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
