"""Reads a JSON Web Key Set (RFC 7517) into keys that can verify signatures."""

import re
from base64 import urlsafe_b64decode
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from jose import jwk
from jose.backends.base import Key
from jose.exceptions import JOSEError

from app.http.strict_json import parse_json

MAX_KEYS = 100
MAX_KEY_ID_LENGTH = 256
_RSA_MODULUS_BITS = range(2048, 16_384 + 1)
_RSA_EXPONENT_BITS = range(2, 32 + 1)  # OpenSSL refuses more than 64, and every bit costs time
_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512"})
_CURVES = {"P-256": ("ES256", 32), "P-384": ("ES384", 48), "P-521": ("ES512", 66)}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


class MalformedKeySetError(ValueError):
    """The document is not a key set, or has no usable key."""


def parse_key_set(document: bytes, algorithms: frozenset[str]) -> dict[tuple[str, str], Key]:
    """The usable keys of `document`, by key id and algorithm, each prepared for that algorithm.

    Ignored are keys of types other than RSA and EC, keys that are not for signatures, keys without a sane `kid`, keys
    for algorithms other than `algorithms`, RSA keys below 2048 bits (RFC 7518, section 3.3), keys with malformed
    numbers, and keys published with their private half. Of two keys with one name, the first is used.

    Raises:
        MalformedKeySetError: it has no usable key, or more than `MAX_KEYS` keys.
    """
    try:
        content = parse_json(document)
    except ValueError:
        raise MalformedKeySetError("the document is not JSON") from None
    entries = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise MalformedKeySetError(f"the document has no list of at most {MAX_KEYS} keys")
    keys: dict[tuple[str, str], Key] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not _is_for_signatures(entry):
            continue
        for algorithm in _algorithms_of(entry) & algorithms:
            key = _prepare(entry, algorithm)
            if key is not None:
                keys.setdefault((entry["kid"], algorithm), key)
    if not keys:
        raise MalformedKeySetError("the document has no usable key")
    return keys


def _is_for_signatures(entry: dict[str, Any]) -> bool:
    key_id, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    return (
        isinstance(key_id, str)
        and 0 < len(key_id) <= MAX_KEY_ID_LENGTH
        and entry.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and "d" not in entry
    )


def _algorithms_of(entry: dict[str, Any]) -> frozenset[str]:
    """The signature algorithms that fit the type and curve of the key, or the one that it names."""
    curve = entry.get("crv")
    fitting: frozenset[str] = frozenset()
    if entry.get("kty") == "RSA" and _has_sound_rsa_numbers(entry):
        fitting = _RSA_ALGORITHMS
    elif entry.get("kty") == "EC" and isinstance(curve, str) and curve in _CURVES:
        algorithm, size = _CURVES[curve]
        if all(len(_octets(entry.get(name))) == size for name in ("x", "y")):
            fitting = frozenset({algorithm})
    if "alg" not in entry:
        return fitting
    named = entry["alg"]
    return fitting & {named} if isinstance(named, str) else frozenset()


def _has_sound_rsa_numbers(entry: dict[str, Any]) -> bool:
    modulus, exponent = (int.from_bytes(_octets(entry.get(name))) for name in ("n", "e"))
    return (
        modulus.bit_length() in _RSA_MODULUS_BITS
        and exponent.bit_length() in _RSA_EXPONENT_BITS
        and modulus % 2 == exponent % 2 == 1
    )


def _octets(value: object) -> bytes:
    """The octets of a base64url text without padding (RFC 7518, section 2), empty when it is not one."""
    if not isinstance(value, str) or not _BASE64URL.fullmatch(value) or len(value) % 4 == 1:
        return b""
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))


def _prepare(entry: dict[str, Any], algorithm: str) -> Key | None:
    public: dict[str, Any] = {name: entry[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in entry}
    try:
        return jwk.construct(public, algorithm)
    except (JOSEError, ValueError, UnsupportedAlgorithm):
        return None
