"""What the OpenAPI document says about the answers of the routes of the webhooks."""

from typing import Any

from app.auth.principal import Scope
from app.auth.responses import token_errors
from app.config import Settings
from app.errors import NotFound
from app.http.etag import PreconditionFailed
from app.http.paging import LINK_HEADER
from app.http.responses import Errors, Responses, body_errors, invalid, problems, success
from app.outbound.address import NOT_PUBLIC
from app.outbound.cipher import EncryptionKeyMissing, NoEncryptionKey
from app.subscriptions import examples
from app.subscriptions.errors import (
    BeyondLedger,
    NothingToReplay,
    ReplayUnderWay,
    TooManyHeaders,
    TooManySubscriptions,
    UrlRefused,
)

_ETAG_HEADER: dict[str, Any] = {
    "ETag": {
        "description": "Names the version of what clients can change (RFC 9110, section 8.8.3); send it as `If-Match`.",
        "schema": {"type": "string"},
    }
}
_LOCATION_HEADER: dict[str, Any] = {
    "Location": {"description": "Where the subscription is.", "schema": {"type": "string", "format": "uri-reference"}}
}
_NO_STORE_HEADER: dict[str, Any] = {
    "Cache-Control": {"description": "`no-store`: the answer has a secret.", "schema": {"type": "string"}}
}
_OPERATOR = token_errors(Scope.ADMIN)
_UNKNOWN: Errors = {"unknown_subscription": NotFound("There is no subscription with this id.")}
_CONDITION: Errors = {"changed": PreconditionFailed()}
_CLOSED: Errors = {"no_key": NoEncryptionKey()}
_KEYS: Errors = {**_CLOSED, "key_missing": EncryptionKeyMissing()}
_BODY = body_errors(max_bytes=Settings.model_fields["max_event_bytes"].default)
_URL: Errors = {"url": UrlRefused(NOT_PUBLIC)}
_LIMIT: Errors = {
    "limit": invalid(["query", "limit"], "Input should be greater than or equal to 1", "greater_than_equal")
}

CREATED: Responses = {
    201: success(
        "The subscription, with its secret: no later answer shows it.",
        examples.CREATED,
        _LOCATION_HEADER | _ETAG_HEADER | _NO_STORE_HEADER,
    ),
    **problems(
        _URL
        | {"start": BeyondLedger("start"), "too_many_subscriptions": TooManySubscriptions(100)}
        | _BODY
        | _CLOSED
        | _OPERATOR
    ),
}
LISTED: Responses = {
    200: success("A page of subscriptions, oldest first.", [examples.SUBSCRIPTION], LINK_HEADER),
    **problems(_LIMIT | _OPERATOR),
}
FOUND: Responses = {
    200: success("The subscription.", examples.SUBSCRIPTION, _ETAG_HEADER),
    **problems(_UNKNOWN | _OPERATOR),
}
CHANGED: Responses = {
    200: success("The subscription as it is now.", examples.SUBSCRIPTION, _ETAG_HEADER),
    **problems(_URL | {"headers": TooManyHeaders(20)} | _UNKNOWN | _CONDITION | _BODY | _KEYS | _OPERATOR),
}
DELETED: Responses = {
    204: {"description": "Nothing is sent to it any more."},
    **problems(_UNKNOWN | _CONDITION | _OPERATOR),
}
ROTATED: Responses = {
    200: success("The new secret: no later answer shows it.", examples.ROTATED, _ETAG_HEADER | _NO_STORE_HEADER),
    **problems(_UNKNOWN | _CONDITION | _CLOSED | _OPERATOR),
}
REPLAYED: Responses = {
    202: success("The replay has begun.", examples.REPLAYED, _ETAG_HEADER),
    **problems(
        {"under_way_already": ReplayUnderWay(), "nothing": NothingToReplay(), "beyond": BeyondLedger("from_position")}
        | _UNKNOWN
        | _BODY
        | _OPERATOR
    ),
}
REPLAY_ENDED: Responses = {204: {"description": "No replay is under way."}, **problems(_UNKNOWN | _OPERATOR)}
