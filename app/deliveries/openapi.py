"""What the OpenAPI document says about the responses of the delivery routes."""

from app.auth.principal import Scope
from app.auth.responses import token_errors
from app.deliveries.service import DeliveryPending
from app.errors import NotFound
from app.http.paging import LINK_HEADER
from app.http.responses import Errors, Responses, invalid, problems, success
from app.outbound.cipher import EncryptionKeyMissing, NoEncryptionKey
from app.subscriptions import examples

_OPERATOR = token_errors(Scope.ADMIN)
_UNKNOWN: Errors = {"unknown_subscription": NotFound("There is no subscription with this id.")}
_UNKNOWN_DELIVERY: Errors = {"unknown_delivery": NotFound("There is no delivery with this id.")}
_KEYS: Errors = {"no_key": NoEncryptionKey(), "key_missing": EncryptionKeyMissing()}
_LIMIT: Errors = {
    "limit": invalid(["query", "limit"], "Input should be greater than or equal to 1", "greater_than_equal")
}

PINGED: Responses = {
    200: success("What came back, whatever it was.", examples.PINGED),
    **problems(_UNKNOWN | _KEYS | _OPERATOR),
}
REDELIVERED_DEAD: Responses = {
    202: success("They are pending again.", examples.REDELIVERY),
    **problems(_UNKNOWN | _OPERATOR),
}
DELIVERIES: Responses = {
    200: success("A page of deliveries, newest first.", [examples.DELIVERY], LINK_HEADER),
    **problems(_LIMIT | _UNKNOWN | _OPERATOR),
}
DELIVERIES_OF_EVENT: Responses = {
    200: success(
        "A page of deliveries, one for each subscription that wants the event.", [examples.DELIVERY], LINK_HEADER
    ),
    **problems(_LIMIT | {"unknown_event": NotFound("There is no event with this id.")} | _OPERATOR),
}
DELIVERY: Responses = {
    200: success("The delivery and the attempts at it.", examples.DELIVERY_WITH_HISTORY),
    **problems(_UNKNOWN_DELIVERY | _OPERATOR),
}
REDELIVERED: Responses = {
    202: success("It is pending again.", examples.REDELIVERED),
    **problems(_UNKNOWN_DELIVERY | {"pending": DeliveryPending()} | _OPERATOR),
}
