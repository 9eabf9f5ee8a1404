"""What the OpenAPI document says about the answers of the feed's routes."""

from app.auth.principal import Scope
from app.auth.responses import token_errors
from app.changes.errors import (
    CursorAhead,
    CursorGone,
    CursorInvalid,
    CursorOfLostEvent,
    CursorOfOtherFilter,
    CursorOfOtherLedger,
    TooManyFollowers,
)
from app.changes.examples import BEGINNING, CURSOR, PAGE, STREAM
from app.http.pages import TooManyLargePages
from app.http.responses import Errors, Responses, invalid, problems, success

_CURSOR_ERRORS: Errors = {
    "damaged_cursor": CursorInvalid(),
    "other_filter": CursorOfOtherFilter(),
    "other_ledger": CursorOfOtherLedger(),
    "ahead": CursorAhead(),
    "gone": CursorGone(41, CURSOR),
    "lost_event": CursorOfLostEvent(1, BEGINNING),
}
_LIMIT = invalid(["query", "limit"], "Input should be greater than or equal to 1", "greater_than_equal")
_EVENT_TYPE = invalid(["query", "event_type", 0], "Input should be 'upload', 'delete' or 'update'", "enum")

LISTED: Responses = {
    200: success("A page of changes, oldest first.", PAGE),
    **problems(
        _CURSOR_ERRORS
        | {"limit": _LIMIT, "followers": TooManyFollowers(), "large_pages": TooManyLargePages()}
        | token_errors(Scope.READ)
    ),
}
STREAMED: Responses = {
    200: {
        "description": "Server-sent events, until the client leaves, the token expires or the process ends.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": STREAM}},
    },
    **problems(
        _CURSOR_ERRORS | {"event_type": _EVENT_TYPE, "followers": TooManyFollowers()} | token_errors(Scope.READ)
    ),
}
