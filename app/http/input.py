"""The base of every object that clients send."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError


class Input(BaseModel):
    """An object without unknown fields.

    Of one with more members than there are fields that alone is said: a body can hold a million unknown fields, and
    an error for each of them would take seconds and gigabytes.
    """

    model_config = ConfigDict(extra="forbid")
    _field_count: ClassVar[int]

    @classmethod
    def __pydantic_init_subclass__(cls, **_kw: Any) -> None:
        """Count the fields once: to ask pydantic for them takes as long as a tenth of a validation."""
        cls._field_count = len(cls.model_fields)

    @model_validator(mode="before")
    @classmethod
    def _few_members(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > cls._field_count:
            raise PydanticCustomError("unknown_fields", "The object has unknown fields")
        return data
