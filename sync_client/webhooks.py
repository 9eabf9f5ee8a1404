"""Verifies webhooks, with the library of Standard Webhooks (https://www.standardwebhooks.com)."""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any, Literal, Protocol

from pydantic import AwareDatetime, TypeAdapter, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from sync_client.errors import SignatureRefused
from sync_client.models import ResponseModel

SECRET_PREFIX = "whsec_"  # noqa: S105 - the form of secrets
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
ID_HEADER = "webhook-id"

_SIGNATURE = re.compile(r"v1,[A-Za-z0-9+/]+=*")


class Headers(Protocol):
    """The headers of a request, as a dict or as a web framework's object; names in any case."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Names and values."""


class WebhookMessage(ResponseModel):
    """A CloudEvent. `type` is `sync.file.upload`, `…update`, `…delete` or `sync.ping`; a newer service may have more.

    `id` is the same in every attempt: store it, and drop known ones. `data` is the event, with its `position`.
    """

    specversion: Literal["1.0"]
    id: str
    type: str
    source: str
    time: AwareDatetime | None = None
    data: dict[str, Any]


_MESSAGE = TypeAdapter(WebhookMessage)


def is_secret(text: str) -> bool:
    """Whether `text` is a secret: `whsec_` and the base64 of 24 to 64 bytes."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith(SECRET_PREFIX) and MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES


def verify_signature(headers: Headers, body: bytes, secret: str) -> None:
    """Check that `body` was signed with `secret` within the last five minutes.

    Raises:
        SignatureRefused: with the reason.
    """
    if not is_secret(secret):
        raise SignatureRefused("this is not a secret: it must be `whsec_` and base64")
    given = {name.lower(): value for name, value in headers.items()}
    # The library fails on signatures of another form, which a later version of the standard may have.
    known = [one for one in given.get("webhook-signature", "").split(" ") if _SIGNATURE.fullmatch(one)]
    try:
        Webhook(secret).verify(body, given | {"webhook-signature": " ".join(known)}, json_parse=False)
    except WebhookVerificationError as error:
        raise SignatureRefused(str(error)) from error
    except ValueError as error:
        raise SignatureRefused("a header or the body is not of the form that the service sends") from error


def verify(headers: Headers, body: bytes, secret: str) -> WebhookMessage:
    """The message, once its signature is verified. `body` is the raw body, before any parsing.

    Raises:
        SignatureRefused: with the reason.
    """
    verify_signature(headers, body, secret)
    try:
        message = _MESSAGE.validate_json(body)
    except ValidationError as error:
        raise SignatureRefused("the body is no CloudEvent of the service") from error
    if message.id != {name.lower(): value for name, value in headers.items()}.get(ID_HEADER):
        raise SignatureRefused(f"{ID_HEADER} is not the id of the message")
    return message
