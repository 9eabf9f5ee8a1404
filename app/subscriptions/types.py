"""Types of a subscription's settings, each with one canonical form, and the errors of invalid values."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.errors import Conflict, FieldError, Unprocessable
from app.events.models import EventType
from app.http.types import MAX_EXACT_INTEGER, number_not_text
from app.outbound.secret import is_secret

_START = {"latest": None, "beginning": 0}


def _read_start(value: Any) -> int | None:
    if isinstance(value, str) and value in _START:
        return _START[value]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and 0 <= value <= MAX_EXACT_INTEGER and value == int(value):  # 3.0 is an integer in JSON Schema
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


Position = Annotated[int, Field(ge=1, le=MAX_EXACT_INTEGER), BeforeValidator(number_not_text)]
RateLimit = Annotated[
    float, Field(ge=0.001, le=100_000, allow_inf_nan=False), BeforeValidator(number_not_text)
]  # less than one in a thousand seconds is a pause
Description = Annotated[str, StringConstraints(max_length=255)]
EventTypes = Annotated[
    list[EventType],
    Field(min_length=1, max_length=len(EventType), json_schema_extra={"uniqueItems": True}),
    AfterValidator(_unique),
]
Start = Annotated[
    int | None,  # None: the latest
    BeforeValidator(_read_start),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": list(_START)},
                {"type": "integer", "minimum": 0, "maximum": MAX_EXACT_INTEGER},
            ]
        }
    ),
]
Secret = Annotated[
    SecretStr,
    AfterValidator(_check_secret),
    WithJsonSchema({"type": "string", "pattern": "^whsec_[A-Za-z0-9+/]{32,86}={0,2}$", "writeOnly": True}),
]


class BeyondLedger(Unprocessable):
    """422 at the member of the body that names a position."""

    def __init__(self, member: str) -> None:
        error = FieldError(loc=["body", member], msg="The position is after the last event", type="beyond_ledger")
        super().__init__("The position is beyond the end of the ledger.", errors=[error])


class TooManySubscriptions(Conflict):
    code = "too-many-subscriptions"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} subscriptions, the maximum; see WEBHOOK_MAX_SUBSCRIPTIONS.")


class ReplayUnderWay(Conflict):
    code, detail = "replay-under-way", "A replay is under way; wait until `replay` of the subscription is null."


class NothingToReplay(Conflict):
    code = "nothing-to-replay"
    detail = "The range has no event that was delivered to the subscription; later events are sent anyway."
