"""The endpoint that an operator names, of a subscription or a source: its URL, and the headers sent to it."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.errors import FieldError, Unprocessable
from app.outbound.address import MAX_URL_CHARACTERS, AddressPolicy, AddressRefused
from app.outbound.client import FRAMING_HEADERS
from app.outbound.secret import EncryptionKeyMissing, NoEncryptionKey, SecretCipher

MAX_HEADERS = 20
TOO_MANY_HEADERS = "There may be {most} headers"
OWN_HEADERS = FRAMING_HEADERS | {"user-agent"}
OWN_PREFIXES = ("content-", "proxy-", "webhook-")

_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$"  # a token of RFC 9110, section 5.6.2
_VALUE = r"^[!-~]([ -~]{0,1022}[!-~])?$"  # visible ASCII, with spaces within


class UrlRefused(Unprocessable):
    """422 at `url`: a source or a subscriber, as `whose` says, may not be at this URL."""

    def __init__(self, reason: str, whose: str) -> None:
        error = FieldError(loc=["body", "url"], msg=reason, type="url_refused")
        super().__init__(f"The {whose} may not be at this URL; `errors` says why.", errors=[error])


class TooManyHeaders(Unprocessable):
    """422 at `headers`: together with the existing ones there would be too many."""

    def __init__(self, whose: str) -> None:
        message = TOO_MANY_HEADERS.format(most=MAX_HEADERS)
        error = FieldError(loc=["body", "headers"], msg=message, type="headers_number")
        super().__init__(f"The {whose} would have too many headers.", errors=[error])


def check_url(policy: AddressPolicy, url: str, whose: str) -> str:
    """The URL as `policy` checked it; raises `UrlRefused` (422)."""
    try:
        return policy.check_url(url)
    except AddressRefused as refusal:
        raise UrlRefused(str(refusal), whose) from None


def is_own_header(name: str) -> bool:
    """Whether the service sets a header of this name itself, so that an operator cannot."""
    return name.lower() in OWN_HEADERS or name.lower().startswith(OWN_PREFIXES)


def encrypt_headers(cipher: SecretCipher, headers: Mapping[str, str]) -> bytes | None:
    """The headers for the database; raises `NoEncryptionKey` (503)."""
    return cipher.encrypt(json.dumps(headers)) if headers else None


def decrypt_headers(cipher: SecretCipher, stored: bytes | None) -> dict[str, str]:
    """The headers that `encrypt_headers` encrypted; raises `NoEncryptionKey` or `EncryptionKeyMissing` (503)."""
    headers: dict[str, str] = {} if stored is None else json.loads(cipher.decrypt(stored))
    return headers


def list_header_names(cipher: SecretCipher, stored: bytes | None) -> list[str] | None:
    """The names of the stored headers; None when no key decrypts them."""
    try:
        return sorted(decrypt_headers(cipher, stored))
    except (NoEncryptionKey, EncryptionKeyMissing):
        return None


def change_headers(
    cipher: SecretCipher, stored: bytes | None, changes: Mapping[str, str | None] | None, whose: str
) -> bytes | None:
    """The stored headers after `changes`, which ignore the case of names: the same bytes if they change nothing.

    A value sets a header, None removes it. None instead of the changes removes all headers, and needs no key.

    Raises:
        TooManyHeaders: 422.
        NoEncryptionKey, EncryptionKeyMissing: 503.
    """
    if changes is None:
        return None
    old = decrypt_headers(cipher, stored)
    replaced = {name.lower() for name in changes}
    new = {name: value for name, value in old.items() if name.lower() not in replaced}
    new |= {name: value for name, value in changes.items() if value is not None}
    if len(new) > MAX_HEADERS:
        raise TooManyHeaders(whose)
    return stored if new == old else encrypt_headers(cipher, new)


def _read_headers(*, removable: bool) -> Callable[[Any], dict[str, str | None]]:
    """A check of header names and values; with `removable` a value may be null."""

    def read(value: Any) -> dict[str, str | None]:
        if not isinstance(value, dict):
            raise PydanticCustomError("headers_type", "Input should be an object of header names and their values")
        if len(value) > MAX_HEADERS:
            raise PydanticCustomError("headers_number", TOO_MANY_HEADERS, {"most": MAX_HEADERS})
        if not all(isinstance(name, str) and re.fullmatch(_NAME, name) for name in value):
            raise PydanticCustomError(
                "header_name", "A header's name is a token of RFC 9110, of at most 128 characters"
            )
        if len({name.lower() for name in value}) < len(value):
            raise PydanticCustomError("header_repeated", "Two headers have the same name but for upper and lower case")
        if any(is_own_header(name) for name in value):
            raise PydanticCustomError(
                "header_reserved", "The service sets this header itself: host, content-*, webhook-*, those of the hop"
            )
        if not all(_is_value(one) or (removable and one is None) for one in value.values()):
            raise PydanticCustomError("header_value", "A header's value is visible ASCII, of 1 to 1024 characters")
        return value

    return read


def _is_value(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(_VALUE, value) is not None


def _headers_schema(*types: str) -> WithJsonSchema:
    value = {"type": types[0] if len(types) == 1 else list(types), "pattern": _VALUE}
    names = {"type": "string", "pattern": _NAME}
    return WithJsonSchema(
        {"type": "object", "maxProperties": MAX_HEADERS, "propertyNames": names, "additionalProperties": value}
    )


# The policy of addresses, which depends on settings, checks the rest.
EndpointUrl = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "uri", "pattern": r"^https?://\S+$", "maxLength": MAX_URL_CHARACTERS}),
]
Headers = Annotated[dict[str, str], BeforeValidator(_read_headers(removable=False)), _headers_schema("string")]
HeaderChanges = Annotated[
    dict[str, str | None], BeforeValidator(_read_headers(removable=True)), _headers_schema("string", "null")
]
