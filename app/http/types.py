"""Types of the input: values in paths, queries and bodies, and the base of every object."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.errors import is_harmless_name

MAX_POSITION = 2**63 - 1
MAX_EXACT_INTEGER = 2**53  # up to which a JSON number is exact as a double
MAX_AT_ONCE = 10_000  # what one bulk request may change

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_OTHER_UUID = re.compile(rf"[0-9a-fA-F]{{32}}|\{{{_UUID.pattern}\}}|[uU][rR][nN]:[uU][uU][iI][dD]:{_UUID.pattern}")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Input(BaseModel):
    """An object without unknown fields.

    An object with more members than fields gets one error, which names one of them: a body can hold a million unknown
    fields, and an error for each would take seconds and gigabytes.
    """

    model_config = ConfigDict(extra="forbid")
    _field_count: ClassVar[int]

    @classmethod
    def __pydantic_init_subclass__(cls, **_kw: Any) -> None:
        """Count the fields once: to ask pydantic for them takes a tenth of a validation."""
        cls._field_count = len(cls.model_fields)

    @model_validator(mode="before")
    @classmethod
    def _few_members(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > cls._field_count:
            names = (name for name in data if name not in cls.model_fields and is_harmless_name(name))
            example = next((f", such as {name}" for name in names), "")
            raise PydanticCustomError("unknown_fields", "The object has unknown fields{example}", {"example": example})
        return data


def examples(*values: JsonValue) -> ConfigDict:
    """The configuration of a model with these examples in the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": list(values)})


def _uuid_text(value: Any) -> Any:
    """A UUID in the form 8-4-4-4-12, of 32 digits, in braces or as a URN (RFC 9562, section 4), in any case."""
    if isinstance(value, UUID) or (isinstance(value, str) and _UUID.fullmatch(value)):
        return value
    if isinstance(value, str) and _OTHER_UUID.fullmatch(value):
        return value.lower().removeprefix("urn:uuid:").strip("{}")
    raise PydanticCustomError("uuid_format", "Input should be a UUID, as 32 hexadecimal digits in the form 8-4-4-4-12")


def _boolean(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if (boolean := _BOOLEANS.get(value.lower())) is None:
        raise PydanticCustomError("boolean_format", "Input should be true or false")
    return boolean


def _plain_integer(value: Any) -> Any:
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise PydanticCustomError("integer_format", "Input should be an integer in plain decimal digits")
    return value


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "Input should be a valid string")
    return value


def _rfc_3339(value: Any) -> Any:
    if isinstance(value, str) and not _TIMESTAMP.fullmatch(value):
        raise PydanticCustomError("timestamp_format", "Input should be an RFC 3339 time: 2026-01-15T10:30:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("timestamp_range", "Input should be a time of the years 1 to 9999, UTC") from None


def number_not_text(value: Any) -> Any:
    """Refuse strings and booleans, which pydantic would read as numbers."""
    if isinstance(value, (str, bool)):
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


Uuid = Annotated[UUID, BeforeValidator(_uuid_text)]
QueryBoolean = Annotated[bool, BeforeValidator(_boolean), WithJsonSchema({"type": "boolean"})]
QueryInteger = Annotated[int, BeforeValidator(_plain_integer)]
QueryTimestamp = Annotated[AwareDatetime, BeforeValidator(_rfc_3339), AfterValidator(_in_utc)]
BodyInteger = Annotated[int, BeforeValidator(number_not_text)]
BodyTimestamp = Annotated[QueryTimestamp, BeforeValidator(_text)]
# The bounds come first, or the document would not show them.
QueryPosition = Annotated[int, Field(ge=0, le=MAX_POSITION), BeforeValidator(_plain_integer)]
RowId = Annotated[int, Field(ge=1, le=MAX_POSITION), BeforeValidator(_plain_integer)]
BodyRowId = Annotated[int, Field(ge=1, le=MAX_POSITION), BeforeValidator(number_not_text)]


class BulkRequest(Input):
    """A change of all that a filter matches, on the condition that it is what the caller saw."""

    up_to_position: BodyRowId = Field(
        description="The highest position that was shown; items above it stay as they are."
    )
    expected: Annotated[int, Field(ge=1, le=MAX_AT_ONCE), BeforeValidator(number_not_text)] = Field(
        description="Number of matches at or below the position; if it differs, nothing is done."
    )
