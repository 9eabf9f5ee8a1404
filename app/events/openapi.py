"""What the OpenAPI document says about the answers of the event routes."""

from typing import Any

from app.auth.principal import Scope
from app.auth.responses import token_errors
from app.config import Settings
from app.errors import Conflict, NotFound
from app.events.deadlines import CommitTooLate
from app.events.examples import EVENT_ID, PENDING_EVENT, PROCESSED_EVENT
from app.events.group import IdempotencyKeyReused
from app.events.ledger import LedgerBusy
from app.events.models import EventType
from app.http.body import BodiesBusy
from app.http.pages import TooManyLargePages
from app.http.paging import LINK_HEADER
from app.http.responses import Errors, Responses, body_errors, invalid, not_one_of, problems, success

_REPLAYED_HEADER: dict[str, Any] = {
    "Idempotency-Replayed": {
        "description": "`true` when an earlier request had recorded it; else the header is not there.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
_LOCATION_HEADER: dict[str, Any] = {
    "Location": {"description": "Where the event is.", "schema": {"type": "string", "format": "uri-reference"}}
}
_WRITE_ERRORS: Errors = {
    "reused_key": IdempotencyKeyReused(),
    "busy": LedgerBusy(),
    "late": CommitTooLate(),
    **token_errors(Scope.WRITE),
}
_BATCH_TOO_SHORT = "List should have at least 1 item after validation, not 0"
_UNKNOWN_EVENT = NotFound("There is no event with this id.")

CREATED: Responses = {
    201: success(
        "The event is committed and flushed to disk.",
        {"message": "Sync event created successfully", "event_id": EVENT_ID},
        _LOCATION_HEADER | _REPLAYED_HEADER,
    ),
    **problems(
        {"event_type": not_one_of(["body", "event_type"], EventType)}
        | body_errors(max_bytes=Settings.model_fields["max_event_bytes"].default)
        | _WRITE_ERRORS
    ),
}
BATCH_CREATED: Responses = {
    201: success(
        "All events are committed and flushed to disk; their ids are in the order of the request.",
        {
            "message": "Sync events created successfully",
            "event_ids": [EVENT_ID, EVENT_ID[:-1] + "e", EVENT_ID[:-1] + "f"],
        },
        _REPLAYED_HEADER,
    ),
    **problems(
        {"no_events": invalid(["body", "events"], _BATCH_TOO_SHORT, "too_short")}
        | {"bodies_busy": BodiesBusy()}
        | body_errors(max_bytes=Settings.model_fields["max_batch_bytes"].default)
        | _WRITE_ERRORS
    ),
}
LISTED: Responses = {
    200: success("A page of events, newest first.", [PROCESSED_EVENT], LINK_HEADER),
    **problems(
        {"limit": invalid(["query", "limit"], "Input should be greater than or equal to 1", "greater_than_equal")}
        | {"large_pages": TooManyLargePages()}
        | token_errors(Scope.READ)
    ),
}
FOUND: Responses = {
    200: success("The event.", PROCESSED_EVENT),
    **problems(token_errors(Scope.READ) | {"unknown_event": _UNKNOWN_EVENT}),
}
REQUEUED: Responses = {
    202: success("The event waits for the next sweep.", PENDING_EVENT),
    **problems(
        token_errors(Scope.ADMIN)
        | {
            "unknown_event": _UNKNOWN_EVENT,
            "not_set_aside": Conflict("The event is not set aside, so there is nothing to requeue."),
        }
    ),
}
