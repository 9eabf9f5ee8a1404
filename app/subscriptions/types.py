"""Types of a subscription's settings, each with one canonical form, and the errors of invalid values."""

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.errors import Conflict, FieldError, Unprocessable
from app.events.models import EventType
from app.http.types import number_not_text
from app.outbound.address import MAX_URL_CHARACTERS
from app.outbound.secret import is_own_header, is_secret

MAX_POSITION = 2**53
MAX_HEADERS = 20
_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$"  # a token of RFC 9110, section 5.6.2
_VALUE = r"^[!-~]([ -~]{0,1022}[!-~])?$"  # visible ASCII, with spaces within
_START = {"latest": None, "beginning": 0}


def _read_headers(*, removable: bool) -> Callable[[Any], dict[str, str | None]]:
    """A check of header names and values; with `removable` a value may be null."""

    def read(value: Any) -> dict[str, str | None]:
        if not isinstance(value, dict):
            raise PydanticCustomError("headers_type", "Input should be an object of header names and their values")
        if len(value) > MAX_HEADERS:
            raise PydanticCustomError("headers_number", "There may be 20 headers")
        if not all(isinstance(name, str) and re.fullmatch(_NAME, name) for name in value):
            raise PydanticCustomError(
                "header_name", "A header's name is a token of RFC 9110, of at most 128 characters"
            )
        if len({name.lower() for name in value}) < len(value):
            raise PydanticCustomError("header_repeated", "Two headers have the same name but for upper and lower case")
        if any(is_own_header(name) for name in value):
            raise PydanticCustomError(
                "header_reserved", "A header is one that the service sets: host, content-*, webhook-*, those of the hop"
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


def _read_start(value: Any) -> int | None:
    if isinstance(value, str) and value in _START:
        return _START[value]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and 0 <= value <= MAX_POSITION and value == int(value):  # 3.0 is an integer in JSON Schema
        return int(value)
    raise PydanticCustomError("start", "Input should be 'latest', 'beginning' or a position")


def _unique(value: list[EventType]) -> list[EventType]:
    if len(set(value)) < len(value):
        raise PydanticCustomError("event_types_unique", "Each event type may be listed once")
    return value


def _check_secret(value: SecretStr) -> SecretStr:
    if not is_secret(value.get_secret_value()):
        raise PydanticCustomError("secret", "Input should be whsec_ and the base64 of 24 to 64 bytes")
    return value


# The policy of addresses, which depends on settings, checks the rest.
SubscriberUrl = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "uri", "pattern": r"^https?://\S+$", "maxLength": MAX_URL_CHARACTERS}),
]
Position = Annotated[int, Field(ge=1, le=MAX_POSITION), BeforeValidator(number_not_text)]
RateLimit = Annotated[
    float, Field(ge=0.001, le=100_000, allow_inf_nan=False), BeforeValidator(number_not_text)
]  # less than one in a thousand seconds is a pause
Description = Annotated[str, StringConstraints(max_length=255)]
EventTypes = Annotated[
    list[EventType],
    Field(min_length=1, max_length=len(EventType), json_schema_extra={"uniqueItems": True}),
    AfterValidator(_unique),
]
Headers = Annotated[dict[str, str], BeforeValidator(_read_headers(removable=False)), _headers_schema("string")]
HeaderChanges = Annotated[
    dict[str, str | None], BeforeValidator(_read_headers(removable=True)), _headers_schema("string", "null")
]
Start = Annotated[
    int | None,  # None: the latest
    BeforeValidator(_read_start),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": list(_START)},
                {"type": "integer", "minimum": 0, "maximum": MAX_POSITION},
            ]
        }
    ),
]
Secret = Annotated[
    SecretStr,
    AfterValidator(_check_secret),
    WithJsonSchema({"type": "string", "pattern": "^whsec_[A-Za-z0-9+/]{32,86}={0,2}$", "writeOnly": True}),
]


class UrlRefused(Unprocessable):
    """422 at `url`."""

    def __init__(self, reason: str) -> None:
        error = FieldError(loc=["body", "url"], msg=reason, type="url_refused")
        super().__init__("The subscriber may not be at this URL; `errors` says why.", errors=[error])


class TooManyHeaders(Unprocessable):
    """422 at `headers`: together with the existing ones there would be too many."""

    def __init__(self) -> None:
        error = FieldError(loc=["body", "headers"], msg=f"There may be {MAX_HEADERS} headers", type="headers_number")
        super().__init__("The subscription would have too many headers.", errors=[error])


class BeyondLedger(Unprocessable):
    """422 at the member of the body that names a position."""

    def __init__(self, member: str) -> None:
        error = FieldError(loc=["body", member], msg="The ledger does not go as far as that", type="beyond_ledger")
        super().__init__("The position is beyond the end of the ledger.", errors=[error])


class TooManySubscriptions(Conflict):
    code = "too-many-subscriptions"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} subscriptions, which is all that may be; see WEBHOOK_MAX_SUBSCRIPTIONS.")


class ReplayUnderWay(Conflict):
    code, detail = "replay-under-way", "A replay is under way; wait until `replay` of the subscription is null."


class NothingToReplay(Conflict):
    code = "nothing-to-replay"
    detail = "The range has no event that was delivered to the subscription; later events are sent anyway."
