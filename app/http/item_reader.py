"""Reads a large JSON object that holds one list, item by item, so that it is never in memory as a whole."""

import json
import re
from typing import Any, get_args

from annotated_types import MaxLen
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.http.strict_json import parse_first

# So much is given to the reader at first, and eight times as much each time that an item is larger.
_WINDOW_BYTES = 2048
_SEPARATOR = re.compile(rb"[ \t\n\r]*([,\]])[ \t\n\r]*")
_END = re.compile(rb"[ \t\n\r]*\}[ \t\n\r]*")


class ItemReader:
    """Reads bodies for `model`, whose one field is a list of bounded length."""

    def __init__(self, model: type[BaseModel]) -> None:
        [(self._name, field)] = model.model_fields.items()
        [item] = get_args(field.annotation)
        [self._max_items] = [part.max_length for part in field.metadata if isinstance(part, MaxLen)]
        self._item: TypeAdapter[Any] = TypeAdapter(item)
        self._start = re.compile(rb'[ \t\n\r]*\{[ \t\n\r]*"%b"[ \t\n\r]*:[ \t\n\r]*\[[ \t\n\r]*' % self._name.encode())

    def read(self, raw: bytes | bytearray, max_item_bytes: int) -> dict[str, list[Any]]:
        """The object, with its items validated; reading ends at the first that is not valid, and leaves it as it is.

        Raises:
            json.JSONDecodeError: as `parse_json`; also when an item takes more than `max_item_bytes`.
        """
        start = self._start.match(raw)
        if start is None:
            raise json.JSONDecodeError(f"a large body must begin with the list `{self._name}`", "", 0)
        items: list[Any] = []
        position, more = start.end(), raw[start.end() : start.end() + 1] != b"]"
        if not more:
            position += 1
        while more and len(items) <= self._max_items:
            value, length = _parse_item(raw, position, max_item_bytes)
            try:
                items.append(self._item.validate_python(value))
            except ValidationError:
                return {self._name: [*items, value]}
            separator = _SEPARATOR.match(raw, position + length)
            if separator is None:
                raise json.JSONDecodeError("Expecting ',' delimiter", "", position + length)
            position, more = separator.end(), separator[1] == b","
        if not more and not _END.fullmatch(raw, position):
            raise json.JSONDecodeError("Extra data", "", position)
        return {self._name: items}


def _parse_item(raw: bytes | bytearray, start: int, max_bytes: int) -> tuple[Any, int]:
    window_bytes = _WINDOW_BYTES
    while window_bytes < min(max_bytes, len(raw) - start):
        try:
            return parse_first(raw[start : start + window_bytes])
        except json.JSONDecodeError:
            window_bytes *= 8
    return parse_first(raw[start : start + max_bytes])
