"""The encryption of secrets and headers for the database, and the signing of messages (Standard Webhooks)."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.auth.local import load_secret
from app.config import Settings
from app.config.types import PLACEHOLDERS
from app.errors import Unavailable


class NoEncryptionKey(Unavailable):
    """503: there is no key to encrypt with."""

    code = "no-encryption-key"
    detail = "Secrets cannot be stored: set SECRET_KEY or WEBHOOK_ENCRYPTION_KEYS, the same on every replica."


class EncryptionKeyMissing(Unavailable):
    """503: a stored secret was encrypted with a key that is not configured."""

    code = "encryption-key-missing"
    detail = "A secret was encrypted with a key that is no longer set; put it back into WEBHOOK_ENCRYPTION_KEYS."


class SecretCipher:
    """Encrypts with the first of `keys` and decrypts with any of them.

    Fernet, with keys derived by HKDF (RFC 5869).
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(_derive(key)) for key in keys]) if keys else None

    def encrypt(self, text: str) -> bytes:
        """Encrypt `text` for the database; raises `NoEncryptionKey` when no key is configured."""
        if self._fernet is None:
            raise NoEncryptionKey
        return self._fernet.encrypt(text.encode())

    def decrypt(self, encrypted: bytes) -> str:
        """Decrypt what `encrypt` returned.

        Raises:
            NoEncryptionKey: no key is configured.
            EncryptionKeyMissing: none of the keys decrypts it.
        """
        if self._fernet is None:
            raise NoEncryptionKey
        try:
            return self._fernet.decrypt(encrypted).decode()
        except InvalidToken:
            raise EncryptionKeyMissing from None


def create_cipher(settings: Settings) -> SecretCipher:
    """The cipher with WEBHOOK_ENCRYPTION_KEYS, followed by SECRET_KEY or, in local mode, the generated key.

    So secrets that were stored before WEBHOOK_ENCRYPTION_KEYS was set still decrypt.
    """
    keys = [key.strip() for key in settings.webhook_encryption_keys.split(",") if key]
    if settings.secret_key and settings.secret_key not in PLACEHOLDERS:
        keys.append(settings.secret_key)
    elif settings.local_mode:
        keys.append(load_secret(settings))
    return SecretCipher(keys)


def _derive(key: str) -> bytes:
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"sync-service webhook secrets")
    return base64.urlsafe_b64encode(hkdf.derive(key.encode()))


PREFIX = "whsec_"
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64


def new_secret() -> str:
    """A secret of 32 random bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def is_secret(text: str) -> bool:
    """Whether `text` is a secret: `whsec_` and the base64 of 24 to 64 bytes."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith(PREFIX) and MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES


def signed_headers(message_id: str, at: datetime, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers of a request with this body: a signature by each of the `secrets`."""
    timestamp = str(int(at.timestamp()))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_sign(message_id, timestamp, body, secret) for secret in secrets),
    }


def _sign(message_id: str, timestamp: str, body: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()
