"""Deliveries over HTTP."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response, status
from fastapi.responses import JSONResponse

from app.auth.dependencies import Operator
from app.auth.route import AuthenticatedRoute, LargeBodyRoute
from app.config import Settings
from app.deliveries.history import DeliveryUnknown, HistoryRepository, StoredDelivery
from app.deliveries.policy import classify
from app.deliveries.schemas import (
    BulkRedelivered,
    BulkRedelivery,
    DeliveryPageQuery,
    DeliveryQuery,
    DeliveryView,
    DeliveryWithHistory,
    PingResult,
    RedeliveryResult,
)
from app.deliveries.service import DeliveryPending, DeliveryService
from app.errors import OtherCount
from app.events.listing import check_offset
from app.events.repository import EventRepository, EventUnknown
from app.events.schemas import EVENT_ID
from app.http.body import TooManyLargeBodies
from app.http.dependencies import LINK_HEADER, CurrentDatabase, from_state, page_links
from app.http.openapi import body_problems, documented
from app.http.types import RowId, Uuid
from app.outbound.secret import EncryptionKeyMissing, NoEncryptionKey
from app.subscriptions.repository import OverviewRepository, SubscriptionUnknown
from app.subscriptions.schemas import SUBSCRIPTION_ID

SubscriptionId = Annotated[Uuid, Path(description="The subscription's `id`.", examples=[SUBSCRIPTION_ID])]
DeliveryId = Annotated[RowId, Path(description="The delivery's `id`.", examples=[42])]
EventId = Annotated[Uuid, Path(description="The `event_id` from the response to the `POST`.", examples=[EVENT_ID])]


Deliveries = Annotated[DeliveryService, from_state("deliveries")]


router = APIRouter(route_class=AuthenticatedRoute)
bulk_router = APIRouter(route_class=LargeBodyRoute)


@router.get(
    "/subscriptions/{subscription_id:uuid}/deliveries",
    tags=["deliveries"],
    operation_id="listDeliveries",
    summary="List the deliveries of a subscription",
    responses=documented(200, "A page of deliveries, newest first.", SubscriptionUnknown(), headers=LINK_HEADER),
)
async def list_deliveries(
    request: Request,
    subscription_id: SubscriptionId,
    query: Annotated[DeliveryQuery, Query()],
    _operator: Operator,
    database: CurrentDatabase,
    response: Response,
) -> list[DeliveryView]:
    """The deliveries of a subscription, newest first. `status=dead` lists those that used up their attempts.

    Delivered ones are kept for `WEBHOOK_RETENTION_DAYS`. `offset` is at most 10,000; `Link` continues at any depth.
    """
    check_offset(query.offset)
    filters = query.model_dump(exclude={"limit", "offset"})
    through = await database.watermark.bound()
    async with database.read() as session:
        found = await HistoryRepository(session, through).list_newest(
            subscription_id, **filters, limit=query.limit + 1, offset=query.offset
        )
        if not found:
            await OverviewRepository(session).check_known(subscription_id)
    following = {"before_position": found[query.limit - 1].position} if len(found) > query.limit else None
    return _page(request, response, found, query, following)


@bulk_router.post(
    "/subscriptions/{subscription_id:uuid}/redeliver",
    tags=["deliveries"],
    operation_id="redeliverDead",
    summary="Redeliver dead deliveries of a subscription",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=RedeliveryResult,
    responses={
        200: {"description": "Those that matched are pending again.", "model": BulkRedelivered},
        **documented(
            202,
            "Without a body: they are pending again.",
            SubscriptionUnknown(),
            OtherCount("8 dead deliveries at or below the position"),
            *body_problems(Settings.model_fields["max_batch_bytes"].default),
            TooManyLargeBodies(),
        ),
    },
)
async def redeliver_dead(
    subscription_id: SubscriptionId,
    _operator: Operator,
    deliveries: Deliveries,
    bulk: BulkRedelivery = None,  # type: ignore[assignment]  # may be left out, but not be null
) -> Any:
    """Retry deliveries that used up their attempts, with all attempts again.

    With a body: all matching deliveries, in one transaction, if `expected` is their number; otherwise none. Without a
    body: every dead delivery of the subscription, at most 50,000 in one request.
    """
    if bulk is None:
        return await deliveries.redeliver_dead(subscription_id)
    await deliveries.redeliver_matching(subscription_id, bulk)
    return JSONResponse(BulkRedelivered(redelivered=bulk.expected).model_dump())


@router.post(
    "/subscriptions/{subscription_id:uuid}/test",
    tags=["subscriptions"],
    operation_id="testSubscription",
    summary="Test a subscription",
    responses=documented(
        200, "The result of the ping, good or bad.", SubscriptionUnknown(), NoEncryptionKey(), EncryptionKeyMissing()
    ),
)
async def ping_subscription(subscription_id: SubscriptionId, _operator: Operator, deliveries: Deliveries) -> PingResult:
    """Send a ping now and return the result, within `WEBHOOK_TIMEOUT`.

    The ping is a CloudEvent of the type `sync.ping`, with the headers and signatures of any other message. It is sent
    to paused and disabled subscriptions too, and changes nothing about them.
    """
    response = await deliveries.ping(subscription_id)
    return PingResult(
        outcome=classify(response),
        status_code=response.status_code,
        duration_ms=round(response.duration_seconds * 1000),
        response=response.body,
        error=response.error,
    )


@router.get(
    "/deliveries/{delivery_id}",
    tags=["deliveries"],
    operation_id="getDelivery",
    summary="Get a delivery with its attempts",
    responses=documented(200, "The delivery and its attempts.", DeliveryUnknown()),
)
async def get_delivery(delivery_id: DeliveryId, _operator: Operator, database: CurrentDatabase) -> DeliveryWithHistory:
    """One delivery by its id, and every attempt with its time, duration and response."""
    async with database.read() as session:
        repository = HistoryRepository(session)
        delivery = await repository.get(delivery_id)
        attempts = await repository.list_attempts(delivery_id)
    await database.watermark.reach(delivery.position)
    return DeliveryWithHistory.model_validate({**delivery._asdict(), "history": attempts})


@router.post(
    "/deliveries/{delivery_id}/redeliver",
    tags=["deliveries"],
    operation_id="redeliver",
    summary="Redeliver one delivery",
    status_code=status.HTTP_202_ACCEPTED,
    responses=documented(202, "It is pending again.", DeliveryUnknown(), DeliveryPending()),
)
async def redeliver(delivery_id: DeliveryId, _operator: Operator, deliveries: Deliveries) -> DeliveryView:
    """Send a dead or delivered delivery again, in its order among the pending ones of its file."""
    return DeliveryView.model_validate(await deliveries.redeliver(delivery_id))


@router.get(
    "/sync-events/{event_id:uuid}/deliveries",
    tags=["deliveries"],
    operation_id="listEventDeliveries",
    summary="List the deliveries of an event",
    responses=documented(
        200,
        "A page of deliveries, one for each subscription that matches the event.",
        EventUnknown(),
        headers=LINK_HEADER,
    ),
)
async def list_event_deliveries(
    request: Request,
    event_id: EventId,
    query: Annotated[DeliveryPageQuery, Query()],
    _operator: Operator,
    database: CurrentDatabase,
    response: Response,
) -> list[DeliveryView]:
    """The deliveries of an event, one per subscription. A subscription that is behind has none yet."""
    async with database.read() as session:
        event = await EventRepository(session).get(event_id)
        history = HistoryRepository(session)
        found = await history.list_of_event(event.position, limit=query.limit + 1, offset=query.offset)
    await database.watermark.reach(event.position)
    return _page(request, response, found, query)


def _page(
    request: Request,
    response: Response,
    found: Sequence[StoredDelivery],
    query: DeliveryPageQuery,
    following: dict[str, int] | None = None,
) -> list[DeliveryView]:
    has_next = len(found) > query.limit
    links = page_links(request, limit=query.limit, offset=query.offset, has_next=has_next, following=following)
    response.headers.update(links)
    return [DeliveryView.model_validate(one) for one in found[: query.limit]]
