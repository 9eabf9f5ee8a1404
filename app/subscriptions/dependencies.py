"""What the routes of subscriptions ask for."""

from typing import Annotated

from fastapi import Depends, Header, Request

from app.errors import FieldError, Unprocessable
from app.http.etag import PATTERN, IfMatch
from app.subscriptions.service import SubscriptionService


async def get_service(request: Request) -> SubscriptionService:
    """The process's service of subscriptions, built by the lifespan."""
    service: SubscriptionService = request.state.subscriptions
    return service


async def get_condition(
    request: Request,
    if_match: Annotated[  # noqa: ARG001 - for the documentation; several headers make one list
        str | None,
        Header(
            description="An `ETag` that an answer gave: nothing is done unless it is still the current one. Without "
            "it, or with `*`, the last one to write wins.",
            json_schema_extra={"pattern": PATTERN},
        ),
    ] = None,
) -> IfMatch:
    """The condition of the request.

    Raises:
        Unprocessable: 422 when it is none.
    """
    try:
        return IfMatch.parse(request.headers.getlist("if-match"))
    except ValueError:
        error = FieldError(loc=["header", "if-match"], msg="Input should be * or a list of ETags", type="etag_list")
        raise Unprocessable("The header If-Match can not be read.", errors=[error]) from None


Subscriptions = Annotated[SubscriptionService, Depends(get_service)]
Condition = Annotated[IfMatch, Depends(get_condition)]
