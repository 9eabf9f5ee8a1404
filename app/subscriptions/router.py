"""Subscriptions over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response, status

from app.auth.dependencies import Operator
from app.auth.route import AuthenticatedRoute
from app.http.dependencies import (
    ETAG_HEADER,
    LINK_HEADER,
    Condition,
    PreconditionFailed,
    ReadSession,
    from_state,
    page_links,
    version_etag,
)
from app.http.openapi import documented, location_header
from app.http.types import Uuid
from app.log.request_line import bind_request_fields
from app.outbound.address import NOT_PUBLIC
from app.outbound.endpoint import TooManyHeaders, UrlRefused
from app.outbound.secret import EncryptionKeyMissing, NoEncryptionKey
from app.subscriptions.repository import OverviewRepository, SubscriptionOverview, SubscriptionUnknown
from app.subscriptions.schemas import (
    SUBSCRIPTION_ID,
    CreatedSubscription,
    NewSubscription,
    Replay,
    RotatedSecret,
    SubscriptionChange,
    SubscriptionQuery,
    SubscriptionView,
)
from app.subscriptions.service import SubscriptionService
from app.subscriptions.types import (
    BeyondLedger,
    NothingToReplay,
    ReplayUnderWay,
    TooManySubscriptions,
)

NO_STORE_HEADER = {
    "Cache-Control": {"description": "`no-store`: the response contains a secret.", "schema": {"type": "string"}}
}
SubscriptionId = Annotated[
    Uuid, Path(description="The `id` from the response to the `POST`.", examples=[SUBSCRIPTION_ID])
]


Subscriptions = Annotated[SubscriptionService, from_state("subscriptions")]

router = APIRouter(prefix="/subscriptions", tags=["subscriptions"], route_class=AuthenticatedRoute)


@router.post(
    "",
    operation_id="createSubscription",
    summary="Subscribe to events",
    status_code=status.HTTP_201_CREATED,
    responses=documented(
        201,
        "The subscription, with its secret: only this response contains it.",
        UrlRefused(NOT_PUBLIC, "subscriber"),
        BeyondLedger("start"),
        TooManySubscriptions(100),
        NoEncryptionKey(),
        headers=location_header("subscription") | ETAG_HEADER | NO_STORE_HEADER,
    ),
)
async def create_subscription(
    new: NewSubscription,
    operator: Operator,
    subscriptions: Subscriptions,
    response: Response,
) -> CreatedSubscription:
    """Have events POSTed to a URL: each at least once, signed according to Standard Webhooks, in order per file.

    The response contains the secret that verifies signatures. Keep it: only this response contains it.
    """
    overview, secret = await subscriptions.create(new, operator.subject)
    stored = overview.subscription
    bind_request_fields(subscription_id=str(stored.id))
    response.headers.update({"Location": f"subscriptions/{stored.id}", "ETag": version_etag(stored.version)})
    return CreatedSubscription.of(overview, subscriptions.header_names(stored), secret=secret)


@router.get(
    "",
    operation_id="listSubscriptions",
    summary="List subscriptions",
    responses=documented(200, "A page of subscriptions, oldest first.", headers=LINK_HEADER),
)
async def list_subscriptions(
    request: Request,
    query: Annotated[SubscriptionQuery, Query()],
    _operator: Operator,
    session: ReadSession,
    subscriptions: Subscriptions,
    response: Response,
) -> list[SubscriptionView]:
    """Subscriptions with their state and backlog, oldest first."""
    found = await OverviewRepository(session).list_oldest(
        status=query.status, limit=query.limit + 1, offset=query.offset
    )
    has_next = len(found) > query.limit
    response.headers.update(page_links(request, limit=query.limit, offset=query.offset, has_next=has_next))
    return [SubscriptionView.of(one, subscriptions.header_names(one.subscription)) for one in found[: query.limit]]


@router.get(
    "/{subscription_id:uuid}",
    operation_id="getSubscription",
    summary="Get a subscription",
    responses=documented(200, "The subscription.", SubscriptionUnknown(), headers=ETAG_HEADER),
)
async def get_subscription(
    subscription_id: SubscriptionId,
    _operator: Operator,
    session: ReadSession,
    subscriptions: Subscriptions,
    response: Response,
) -> SubscriptionView:
    """One subscription by its id, with its state and backlog.

    The `ETag` names the version of what clients can change; it stays the same while deliveries come and go.
    """
    return _view(await OverviewRepository(session).get(subscription_id), subscriptions, response)


@router.patch(
    "/{subscription_id:uuid}",
    operation_id="changeSubscription",
    summary="Change a subscription",
    responses=documented(
        200,
        "The current subscription.",
        UrlRefused(NOT_PUBLIC, "subscriber"),
        TooManyHeaders("subscription"),
        SubscriptionUnknown(),
        PreconditionFailed(),
        NoEncryptionKey(),
        EncryptionKeyMissing(),
        headers=ETAG_HEADER,
    ),
)
async def change_subscription(
    subscription_id: SubscriptionId,
    change: SubscriptionChange,
    _operator: Operator,
    condition: Condition,
    subscriptions: Subscriptions,
    response: Response,
) -> SubscriptionView:
    """Change the members that the body names, as a merge patch (RFC 7396).

    Send the `ETag` as `If-Match` to prevent lost updates. Setting `active` sends a paused or disabled subscription its
    whole backlog, and ends a slow-down. Requests under way still go to the old URL.
    """
    return _view(await subscriptions.change(subscription_id, change, condition), subscriptions, response)


@router.delete(
    "/{subscription_id:uuid}",
    operation_id="deleteSubscription",
    summary="Delete a subscription",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=documented(204, "Nothing is sent to it any more.", SubscriptionUnknown(), PreconditionFailed()),
)
async def delete_subscription(
    subscription_id: SubscriptionId, _operator: Operator, condition: Condition, subscriptions: Subscriptions
) -> None:
    """Stop sending and delete the secrets. The deliveries disappear immediately.

    The response does not wait: a background task deletes their rows, a thousand at a time.
    """
    await subscriptions.delete(subscription_id, condition)


@router.post(
    "/{subscription_id:uuid}/rotate-secret",
    operation_id="rotateSecret",
    summary="Give a subscription a new secret",
    responses=documented(
        200,
        "The new secret: only this response contains it.",
        SubscriptionUnknown(),
        PreconditionFailed(),
        NoEncryptionKey(),
        headers=ETAG_HEADER | NO_STORE_HEADER,
    ),
)
async def rotate_secret(
    subscription_id: SubscriptionId,
    _operator: Operator,
    condition: Condition,
    subscriptions: Subscriptions,
    response: Response,
) -> RotatedSecret:
    """Sign with a new secret from now on, and for 24 hours with the previous secret too.

    The receiver may accept either meanwhile. After a second rotation within that time the oldest secret stops signing.
    A secret that the present keys cannot decrypt is replaced immediately.
    """
    stored, secret = await subscriptions.rotate_secret(subscription_id, condition)
    response.headers["ETag"] = version_etag(stored.version)
    return RotatedSecret.model_validate({"secret": secret, "old_secret_until": stored.old_secret_until})


@router.post(
    "/{subscription_id:uuid}/replay",
    operation_id="replaySubscription",
    summary="Deliver a range once more",
    status_code=status.HTTP_202_ACCEPTED,
    responses=documented(
        202,
        "The replay has begun.",
        ReplayUnderWay(),
        NothingToReplay(),
        BeyondLedger("from_position"),
        SubscriptionUnknown(),
        headers=ETAG_HEADER,
    ),
)
async def replay_subscription(
    subscription_id: SubscriptionId,
    replay: Replay,
    _operator: Operator,
    subscriptions: Subscriptions,
    response: Response,
) -> SubscriptionView:
    """Deliver the matching events of a range again, with the same ids, beside new ones.

    The range may begin before the subscription was created. `replay` of the subscription reports its progress.
    """
    return _view(await subscriptions.replay(subscription_id, replay), subscriptions, response)


@router.delete(
    "/{subscription_id:uuid}/replay",
    operation_id="endReplay",
    summary="End a replay",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=documented(204, "No replay is under way.", SubscriptionUnknown()),
)
async def end_replay(subscription_id: SubscriptionId, _operator: Operator, subscriptions: Subscriptions) -> None:
    """Skip the rest of the range. Pending deliveries are still sent; without a replay nothing changes."""
    await subscriptions.end_replay(subscription_id)


def _view(overview: SubscriptionOverview, subscriptions: SubscriptionService, response: Response) -> SubscriptionView:
    response.headers["ETag"] = version_etag(overview.subscription.version)
    return SubscriptionView.of(overview, subscriptions.header_names(overview.subscription))
