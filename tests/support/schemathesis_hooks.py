"""Loaded by schemathesis: what the contract demands of a valid request and an OpenAPI document cannot say."""

import hashlib
import itertools
import re
from typing import Any

import schemathesis
from pydantic_core import to_json

from app.consistency.models import RepairAction
from app.events.listing import MAX_FILTERED_OFFSET
from app.http.dependencies import ENTITY_TAGS
from app.outbound.endpoint import is_own_header

_number = itertools.count(1)
# The digests of plans without findings: no others come about, since no source of the run can be asked.
_DIGESTS = [hashlib.sha256(to_json([action, []])).hexdigest() for action in RepairAction]


@schemathesis.hook
def before_call(_context: Any, case: Any, **_kwargs: Any) -> None:
    """Make valid requests valid in these respects too; invalid ones stay invalid."""
    _choose_headers(case.path, case.headers or {})
    _choose_query(case.path, case.query or {})
    if isinstance(case.body, dict):
        case.body = _in_64_bits(case.body)
        _choose_keys(case.body)
        if case.path.endswith("/replay"):
            _choose_range(case.body)
        elif case.path.startswith(("/subscriptions", "/consistency/sources")):
            _choose_subscription(case.body)
        elif case.path == "/consistency/checks":
            _choose_scope(case.body)


def _choose_query(path: str, query: Any) -> None:
    if isinstance(query.get("cursor"), str):
        query["cursor"] = "latest"  # others are good only when an answer gave them; tests of the feed send bad ones
    if str(query.get("wait")) in {str(seconds) for seconds in range(61)}:
        query["wait"] = 0  # longer than the run waits for an answer
    if str(query.get("offset")).isdecimal() and int(query["offset"]) > MAX_FILTERED_OFFSET:
        query["offset"] = MAX_FILTERED_OFFSET  # beyond it some lists ask for the Link to be followed
    if path == "/throughput":
        _choose_times(query)


def _choose_headers(path: str, headers: Any) -> None:
    for name in list(headers):
        match name.lower():
            case "idempotency-key":
                headers[name] = _unique(headers[name])
            # Other tags are good only when an answer gave them. Schemathesis takes a number for a string that matches.
            case "if-match" if re.fullmatch(rf"{ENTITY_TAGS}|[0-9]+", str(headers[name])):
                headers[name] = ", ".join(f'"{digest}"' for digest in _DIGESTS) if path.endswith("/apply") else "*"
            case "transfer-encoding":  # it frames the message, and is refused before any route
                del headers[name]


def _choose_keys(body: dict[str, Any]) -> None:
    events = body.get("events")
    for event in events if isinstance(events, list) else []:
        if isinstance(event, dict) and "idempotency_key" in event:
            event["idempotency_key"] = _unique(event["idempotency_key"])


def _choose_subscription(body: dict[str, Any]) -> None:
    """What is good by its form but for reasons that a schema cannot say; tests of the webhooks send it."""
    if isinstance(body.get("url"), str) and re.fullmatch(r"(?=.{0,2048}$)https?://\S+", body["url"]):
        body["url"] = "http://subscriber.invalid/"
    headers = body.get("headers")
    if isinstance(headers, dict):
        by_name = {name.lower(): name for name in headers}
        body["headers"] = {name: headers[name] for name in by_name.values() if not is_own_header(name)}
    if _is_position(body.get("start"), 0):
        body["start"] = 0
    if isinstance(body.get("secret"), str) and re.fullmatch("whsec_[A-Za-z0-9+/]{32,86}={0,2}", body["secret"]):
        body["secret"] = "whsec_" + "QUJD" * 8


def _choose_scope(body: dict[str, Any]) -> None:
    """All files or named ones: of a scope whose members are both good, one. A part of the blocks that there is."""
    scope = body.get("scope")
    if isinstance(scope, dict) and scope.keys() <= {"all", "file_ids"} and scope.get("all") in (True, None):
        body["scope"] = {"all": True}
    if re.fullmatch("[1-9][0-9]{0,3}/[1-9][0-9]{0,3}", str(body.get("deep"))):
        body["deep"] = "1/7"


def _choose_range(body: dict[str, Any]) -> None:
    """One range that has events, of members that are good one by one."""
    positions = {"from_position", "until_position"}
    times = {"from_time", "until_time"}
    are_good = all(
        value is None
        or (name in positions and _is_position(value, 1))
        or (name in times and isinstance(value, str) and re.match("[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]", value))
        for name, value in body.items()
    )
    if are_good and body.keys() <= positions | times:
        body.clear()
        body["from_position"] = 1


def _choose_times(query: Any) -> None:
    """Of two good times the later one is the end."""
    if all(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][^ ]+", str(query.get(name))) for name in ("from", "to")):
        query["from"], query["to"] = "2026-01-15T10:00:00Z", "2026-01-15T11:00:00Z"


def _is_position(value: Any, least: int) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= 2**53 and value % 1 == 0
    )


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
