"""Local mode: the secret of this machine, and tokens signed with it."""

import os
import secrets
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from jose import jwk, jws
from jose.backends.base import Key
from jose.exceptions import JOSEError

from app.auth.token import Scope
from app.config import Settings
from app.config.types import MIN_SECRET_LENGTH, PLACEHOLDERS
from app.errors import StartupRefused

LOCAL_ISSUER = "sync-service-local"
LOCAL_ALGORITHM = "HS256"

log = structlog.get_logger(__name__)


class LocalSecretError(StartupRefused):
    """The secret cannot be used; the message names the variable, and never the secret."""


class LocalKey:
    """The one key of local mode, as a `KeySource`.

    Raises:
        LocalSecretError: there is no usable secret.
    """

    def __init__(self, settings: Settings) -> None:
        self._key = _construct(load_secret(settings))

    def generation(self) -> int:
        return 0

    def ready(self) -> bool:
        return True

    async def find(self, key_id: str, algorithm: str) -> Key | None:  # noqa: ARG002 - there is only one key
        return self._key if algorithm == LOCAL_ALGORITHM else None


def load_secret(settings: Settings) -> str:
    """`SECRET_KEY`, else the content of `SECRET_KEY_FILE`, which is written first if it does not exist.

    A placeholder is publicly known, so it counts as no `SECRET_KEY`.

    Raises:
        LocalSecretError: the file cannot be read or written, or has no secret of at least 32 characters.
    """
    if settings.secret_key in PLACEHOLDERS:
        log.warning("SECRET_KEY is a placeholder and is not used", used_instead=str(settings.secret_key_file))
    elif settings.secret_key:
        return settings.secret_key
    path = settings.secret_key_file
    try:
        if not path.exists():
            _create(path)
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise LocalSecretError(f"SECRET_KEY_FILE: cannot use {path}: {reason}; or set SECRET_KEY") from None
    if len(secret) < MIN_SECRET_LENGTH:
        raise LocalSecretError(
            f"SECRET_KEY_FILE: {path} has no secret of at least {MIN_SECRET_LENGTH} characters; "
            "delete the file to have one generated, or set SECRET_KEY"
        )
    return secret


def mint_local_token(
    settings: Settings, subject: str, scopes: Sequence[Scope], lifetime: timedelta | None, now: datetime
) -> str:
    """A token of local mode for `subject`, valid from `now` for `lifetime`, or for `ACCESS_TOKEN_EXPIRE_MINUTES`.

    The subject meets `is_subject`, the lifetime is at least a second.

    Raises:
        LocalSecretError: there is no usable secret.
    """
    lifetime = timedelta(minutes=settings.access_token_expire_minutes) if lifetime is None else lifetime
    issued_at = int(now.timestamp())
    claims = {
        "iss": LOCAL_ISSUER,
        "aud": settings.api_audience,
        "sub": subject,
        "scope": " ".join(scopes),
        "iat": issued_at,
        "exp": issued_at + int(lifetime.total_seconds()),
    }
    return jws.sign(claims, _construct(load_secret(settings)), algorithm=LOCAL_ALGORITHM)


def _construct(secret: str) -> Key:
    try:
        return jwk.construct(secret, LOCAL_ALGORITHM)
    except (JOSEError, UnicodeError):
        raise LocalSecretError("SECRET_KEY: must be a random text, not a PEM or SSH key") from None


def _create(path: Path) -> None:
    """Write a new secret that only its owner can read, unless another process was first.

    The file gets its name only once it is complete, and link() refuses an existing name as O_EXCL does. So no
    process reads half a secret, and all processes use the same one.
    """
    descriptor, draft = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        Path(draft).unlink()
