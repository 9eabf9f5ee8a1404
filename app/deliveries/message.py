"""The headers of what is sent to a subscriber: ours, its own, and the signatures."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, Protocol

from app.deliveries.cloud_event import CONTENT_TYPE
from app.outbound.cipher import Vault, VaultKeyMissing
from app.outbound.signature import is_own_header, signed_headers

_CACHED_SECRETS = 256


class Sealed(Protocol):
    """What a subscription keeps encrypted."""

    @property
    def headers(self) -> bytes | None:
        """Its own headers, a JSON object."""

    @property
    def secret(self) -> bytes:
        """What its messages are signed with."""

    @property
    def old_secret(self) -> bytes | None:
        """What they are signed with as well."""

    @property
    def old_secret_until(self) -> datetime | None:
        """How long that is so."""


class Envelope(NamedTuple):
    """What one subscription's messages are sent with, opened."""

    own_headers: Mapping[str, str]
    secrets: Sequence[str]
    user_agent: str

    def create_headers(self, message_id: str, body: bytes, at: datetime) -> dict[str, str]:
        """All headers of one request that is sent at `at`, signed with every secret."""
        return {
            **self.own_headers,
            "content-type": CONTENT_TYPE,
            "user-agent": self.user_agent,
            **signed_headers(message_id, at, body, self.secrets),
        }


class EnvelopeFactory:
    """Opens what is sealed, and remembers it."""

    def __init__(self, vault: Vault, version: str) -> None:
        self._user_agent = f"sync-service/{version}"
        self._open = lru_cache(_CACHED_SECRETS)(vault.open)

    def open(self, sealed: Sealed, now: datetime) -> Envelope:
        """The envelope with every secret that is valid now, but for an old one that no key opens.

        Raises:
            VaultClosed, VaultKeyMissing: when the present secret or the headers can not be opened.
        """
        secrets = [self._open(sealed.secret)]
        if sealed.old_secret is not None and sealed.old_secret_until is not None and now < sealed.old_secret_until:
            with suppress(VaultKeyMissing):
                secrets.append(self._open(sealed.old_secret))
        own: Mapping[str, str] = json.loads(self._open(sealed.headers)) if sealed.headers is not None else {}
        return Envelope(
            {name: value for name, value in own.items() if not is_own_header(name)}, secrets, self._user_agent
        )
