"""Loaded by schemathesis: what the contract demands of a valid request and an OpenAPI document can not say."""

import itertools
from typing import Any

import schemathesis

_number = itertools.count(1)


@schemathesis.hook
def before_call(_context: Any, case: Any, **_kwargs: Any) -> None:
    """Make valid requests valid in these respects too; invalid ones stay invalid."""
    for name in [name for name in case.headers or {} if name.lower() == "idempotency-key"]:
        case.headers[name] = _unique(case.headers[name])
    query = case.query or {}
    if isinstance(query.get("cursor"), str):
        query["cursor"] = "latest"  # others are good only when an answer gave them; tests of the feed send bad ones
    if str(query.get("wait")) in {str(seconds) for seconds in range(61)}:
        query["wait"] = 0  # longer than the run waits for an answer
    if isinstance(case.body, dict):
        case.body = _in_64_bits(case.body)
        events = case.body.get("events")
        for event in events if isinstance(events, list) else []:
            if isinstance(event, dict) and "idempotency_key" in event:
                event["idempotency_key"] = _unique(event["idempotency_key"])


def _unique(key: Any) -> Any:
    """An equally good key that was never used: a used one is refused with another event. A bad key stays as it is."""
    if not isinstance(key, str) or not 0 < len(key) <= 255 or not all("!" <= character <= "~" for character in key):
        return key
    return f"{next(_number)}-{key}"[:255]


def _in_64_bits(value: Any) -> Any:
    match value:
        case dict():
            return {name: _in_64_bits(item) for name, item in value.items()}
        case list():
            return [_in_64_bits(item) for item in value]
        case int() if value.bit_length() > 63:
            return value % 2**63
        case _:
            return value
