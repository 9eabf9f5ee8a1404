"""Verifies the signatures of webhooks (Standard Webhooks 1.0.0, https://www.standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta

SECRET_PREFIX = "whsec_"  # noqa: S105 - the form of secrets
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
ID_HEADER = "webhook-id"
TOLERANCE = timedelta(minutes=5)


class SignatureRefused(ValueError):
    """A request that does not prove that it was signed with the secret, now."""


def is_secret(text: str) -> bool:
    """Whether `text` is a secret: `whsec_` and the base64 of 24 to 64 bytes."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith(SECRET_PREFIX) and MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES


def verify(headers: Mapping[str, str], body: bytes, secret: str, now: datetime) -> None:
    """Check the signature of a received request; `headers` have lower-case names.

    Raises:
        SignatureRefused: with the reason.
    """
    message_id, timestamp, signatures = (
        headers.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature")
    )
    if not (message_id and signatures and timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        raise SignatureRefused("one of the headers webhook-id, webhook-timestamp and webhook-signature is missing")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE.total_seconds():
        raise SignatureRefused("the timestamp is more than five minutes off")
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    expected = b"v1," + base64.b64encode(digest)
    if not any(hmac.compare_digest(expected, given.encode()) for given in signatures.split(" ")):
        raise SignatureRefused("no signature is by this secret")
