"""Keeps the secrets of subscriptions encrypted in the database."""

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.auth.local import load_secret
from app.config import PLACEHOLDERS, Settings
from app.errors import Unavailable


class VaultClosed(Unavailable):
    """503: there is no key to encrypt with."""

    code = "no-encryption-key"
    detail = "Secrets can not be kept: set SECRET_KEY or WEBHOOK_ENCRYPTION_KEYS, the same on every replica."


class VaultKeyMissing(Unavailable):
    """503: what is stored was encrypted with a key that is not among ours."""

    code = "encryption-key-missing"
    detail = "A secret was encrypted with a key that is no longer set; put it back into WEBHOOK_ENCRYPTION_KEYS."


class Vault:
    """Encrypts with the first of `keys` and decrypts with any of them; Fernet, its key by HKDF (RFC 5869) from ours."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(_derive(key)) for key in keys]) if keys else None

    def seal(self, text: str) -> bytes:
        """`text` as what may be stored.

        Raises:
            VaultClosed: there is no key.
        """
        if self._fernet is None:
            raise VaultClosed
        return self._fernet.encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """The text that was sealed.

        Raises:
            VaultClosed: there is no key.
            VaultKeyMissing: none of the keys opens it.
        """
        if self._fernet is None:
            raise VaultClosed
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise VaultKeyMissing from None


def open_vault(settings: Settings) -> Vault:
    """With WEBHOOK_ENCRYPTION_KEYS; SECRET_KEY, or else the generated key in local mode, comes after them.

    So what was sealed before there were encryption keys still opens. Without any key the vault is closed.
    """
    keys = [key.strip() for key in settings.webhook_encryption_keys.split(",") if key]
    if settings.secret_key and settings.secret_key not in PLACEHOLDERS:
        keys.append(settings.secret_key)
    elif settings.local_mode:
        keys.append(load_secret(settings))
    return Vault(keys)


def _derive(key: str) -> bytes:
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"sync-service webhook secrets")
    return base64.urlsafe_b64encode(hkdf.derive(key.encode()))
