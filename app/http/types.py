"""Input types with one spelling each, shared by paths, queries and bodies."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _hyphenated(value: Any) -> Any:
    if not isinstance(value, UUID) and not (isinstance(value, str) and _UUID.fullmatch(value)):
        raise PydanticCustomError(
            "uuid_format", "Input should be a UUID of 32 hexadecimal digits in the form 8-4-4-4-12"
        )
    return value


def _lower_case_boolean(value: Any) -> Any:
    if isinstance(value, str) and value not in {"true", "false"}:
        raise PydanticCustomError("boolean_format", "Input should be true or false")
    return value


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
    """Refuse what pydantic would read as a number although it is none in JSON."""
    if isinstance(value, (str, bool)):
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


Uuid = Annotated[UUID, BeforeValidator(_hyphenated)]
QueryBoolean = Annotated[bool, BeforeValidator(_lower_case_boolean), WithJsonSchema({"type": "boolean"})]
QueryInteger = Annotated[int, BeforeValidator(_plain_integer)]
QueryTimestamp = Annotated[AwareDatetime, BeforeValidator(_rfc_3339), AfterValidator(_in_utc)]
BodyInteger = Annotated[int, BeforeValidator(number_not_text)]
BodyTimestamp = Annotated[QueryTimestamp, BeforeValidator(_text)]
RowId = Annotated[int, Field(ge=1, le=2**63 - 1), BeforeValidator(_plain_integer)]
