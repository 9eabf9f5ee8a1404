"""Input types with one spelling each, shared by paths, queries and bodies."""

import re
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


def _hyphenated(value: Any) -> UUID:
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise PydanticCustomError(
            "uuid_format", "Input should be a UUID of 32 hexadecimal digits in the form 8-4-4-4-12"
        )
    return UUID(value)


def _lower_case_boolean(value: Any) -> Any:
    if isinstance(value, str) and value not in {"true", "false"}:
        raise PydanticCustomError("boolean_format", "Input should be true or false")
    return value


Uuid = Annotated[UUID, BeforeValidator(_hyphenated)]
QueryBoolean = Annotated[bool, BeforeValidator(_lower_case_boolean), WithJsonSchema({"type": "boolean"})]
