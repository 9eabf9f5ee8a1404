"""The messages to subscribers: a CloudEvents 1.0 body (https://cloudevents.io, structured mode) and its headers."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from pydantic_core import to_json

from app.events.repository import EventRow
from app.outbound.endpoint import is_own_header
from app.outbound.secret import EncryptionKeyMissing, SecretCipher, signed_headers
from app.subscriptions.models import Subscription

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
_SEQUENCE_DIGITS = 19  # of the largest position
_CACHED_SECRETS = 256


Message = tuple[Mapping[str, str], bytes]  # headers and body


class MessageSigner(NamedTuple):
    """Makes the messages of one subscription, whose headers and secrets are decrypted."""

    ledger_id: UUID
    own_headers: Mapping[str, str]
    secrets: Sequence[str]
    user_agent: str

    def event(self, event: EventRow, at: datetime) -> Message:
        return self._sign(str(event.id), event_body(event, self.ledger_id), at)

    def ping(self, message_id: UUID, subscription_id: UUID, at: datetime) -> Message:
        """A message without an event, to test a subscriber."""
        return self._sign(str(message_id), ping_body(message_id, self.ledger_id, subscription_id, at), at)

    def _sign(self, message_id: str, body: bytes, at: datetime) -> Message:
        own = {**self.own_headers, "content-type": CONTENT_TYPE, "user-agent": self.user_agent}
        return {**own, **signed_headers(message_id, at, body, self.secrets)}, body


class MessageFactory:
    """Decrypts what subscriptions store, and caches it."""

    def __init__(self, cipher: SecretCipher, ledger_id: UUID, version: str) -> None:
        self._ledger_id = ledger_id
        self._user_agent = f"sync-service/{version}"
        self._decrypt = lru_cache(_CACHED_SECRETS)(cipher.decrypt)

    def signer(self, subscription: Subscription, now: datetime) -> MessageSigner:
        """The signer with every secret that is valid now, except a previous one that no key decrypts.

        Raises:
            NoEncryptionKey, EncryptionKeyMissing: the current secret or the headers cannot be decrypted.
        """
        secrets = [self._decrypt(subscription.secret)]
        until = subscription.old_secret_until
        if subscription.old_secret is not None and until is not None and now < until:
            with suppress(EncryptionKeyMissing):
                secrets.append(self._decrypt(subscription.old_secret))
        headers = "{}" if subscription.headers is None else self._decrypt(subscription.headers)
        own = {name: value for name, value in json.loads(headers).items() if not is_own_header(name)}
        return MessageSigner(self._ledger_id, own, secrets, self._user_agent)


def event_body(event: Any, ledger_id: UUID) -> bytes:
    """The document about `event`, a row of the ledger: the same bytes in every attempt.

    `source` and `id` identify it among all ledgers. `sequence` is the position with leading zeros: the CloudEvents
    extension of this name compares values as text.
    """
    data = {
        "event_id": event.id,
        "position": event.position,
        "file_id": event.file_id,
        "event_type": event.event_type,
        "created_at": event.created_at,
        "created_by": event.created_by,
        "metadata": event.event_metadata,
    }
    return to_json(
        {
            **_attributes(event.id, ledger_id, f"sync.file.{event.event_type}", event.created_at),
            "subject": event.file_id,
            "sequence": str(event.position).zfill(_SEQUENCE_DIGITS),
            "data": data,
        }
    )


def ping_body(message_id: UUID, ledger_id: UUID, subscription_id: UUID, at: datetime) -> bytes:
    return to_json(
        {
            **_attributes(message_id, ledger_id, "sync.ping", at),
            "subject": subscription_id,
            "data": {"subscription_id": subscription_id},
        }
    )


def _attributes(message_id: UUID, ledger_id: UUID, kind: str, at: datetime) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": message_id,
        "source": f"urn:uuid:{ledger_id}",
        "type": kind,
        "time": at,
        "datacontenttype": "application/json",
    }
