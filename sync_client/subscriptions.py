"""Subscriptions: the URLs to which events are POSTed. All operations need the scope `admin:sync`."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack
from uuid import UUID

from pydantic import AwareDatetime, TypeAdapter

from sync_client.connection import Connection, path_id
from sync_client.face import Face_co, operation, pages
from sync_client.models import EventType, ResponseModel
from sync_client.pagination import list_pages
from sync_client.resource import Resource

PAGE_SUBSCRIPTIONS = 100


class Backlog(ResponseModel):
    """The position up to which the subscription has deliveries; `behind` counts the positions after it."""

    live: bool
    position: int
    behind: int


class ReplayProgress(ResponseModel):
    """A replay under way: up to `position` events are pending again, `until` is the last one of its range."""

    position: int
    until: int


class Subscription(ResponseModel):
    """A subscription with its state and backlog; `etag` makes a change conditional."""

    id: UUID
    url: str
    description: str
    event_types: tuple[str, ...]
    header_names: tuple[str, ...] | None
    ordering: str
    max_concurrency: int
    rate_limit_per_second: float | None
    status: str
    status_reason: str | None
    created_at: AwareDatetime
    created_by: str
    updated_at: AwareDatetime
    old_secret_until: datetime | None
    start_position: int
    backlog: Backlog
    pending: int
    oldest_pending_at: datetime | None
    dead: int
    failing_since: datetime | None
    slow_until: datetime | None
    replay: ReplayProgress | None
    etag: str | None = None


class CreatedSubscription(Subscription):
    """A new subscription. Keep the `secret`: it is not shown again."""

    secret: str


class RotatedSecret(ResponseModel):
    """The new secret, and until when the old one signs too."""

    secret: str
    old_secret_until: datetime | None


class PingResult(ResponseModel):
    """The result of a ping: `outcome` is `delivered` when the receiver accepted it."""

    outcome: str
    status_code: int | None
    duration_ms: int
    response: str
    error: str | None


class SubscriptionOptions(TypedDict, total=False):
    """Settings of a subscription, when it is created and later."""

    description: str
    event_types: list[EventType]
    max_concurrency: int
    rate_limit_per_second: float | None
    status: Literal["active", "paused"]


class NewSubscription(SubscriptionOptions, total=False):
    """Further settings of a new subscription. `start` is `latest`, `beginning` or a position."""

    headers: dict[str, str]
    start: str | int
    ordering: Literal["per_file", "none"]
    secret: str


class SubscriptionChange(SubscriptionOptions, total=False):
    """Further settings that can be changed. A header's None removes it; None instead of the dict removes all."""

    url: str
    headers: dict[str, str | None] | None


_SUBSCRIPTION = TypeAdapter(Subscription)
_SUBSCRIPTIONS = TypeAdapter(tuple[Subscription, ...])
_CREATED = TypeAdapter(CreatedSubscription)
_ROTATED = TypeAdapter(RotatedSecret)
_PING = TypeAdapter(PingResult)
_NOTHING = TypeAdapter(None)


class Subscriptions(Resource[Face_co]):
    """The service's subscriptions."""

    @operation
    async def create(self, url: str, **options: Unpack[NewSubscription]) -> CreatedSubscription:
        """Have events POSTed to `url`. Not retried once it is sent: a repetition would make a second one."""
        body = {"url": url, **options}
        created, response = await self._connection.send("POST", "subscriptions", _CREATED, body)
        return created.model_copy(update={"etag": response.headers.get("ETag")})

    @pages
    async def list(
        self, *, status: Literal["active", "paused", "disabled"] | None = None
    ) -> AsyncGenerator[Subscription, None]:
        """Subscriptions, oldest first."""
        query = {"status": status, "limit": PAGE_SUBSCRIPTIONS}
        async for one in list_pages(
            self._connection, "subscriptions", _SUBSCRIPTIONS, query, lambda each: (each.created_at, each.id)
        ):
            yield one

    @operation
    async def get(self, subscription_id: UUID | str) -> Subscription:
        """One subscription, with its `etag`."""
        found, response = await self._connection.get(_path(subscription_id), _SUBSCRIPTION)
        return found.model_copy(update={"etag": response.headers.get("ETag")})

    @operation
    async def change(
        self, subscription_id: UUID | str, *, if_match: str | None = None, **changes: Unpack[SubscriptionChange]
    ) -> Subscription:
        """Change the named settings and leave the rest. `if_match` is the `etag` that the change is based on.

        Raises:
            PreconditionFailed: it was changed since.
        """
        return await _patch(self._connection, subscription_id, changes, if_match)

    @operation
    async def pause(self, subscription_id: UUID | str) -> Subscription:
        """Send nothing, and keep the backlog."""
        return await _patch(self._connection, subscription_id, {"status": "paused"})

    @operation
    async def resume(self, subscription_id: UUID | str) -> Subscription:
        """Make it active again, also when the service has disabled it or slowed it down."""
        return await _patch(self._connection, subscription_id, {"status": "active"})

    @operation
    async def delete(self, subscription_id: UUID | str, *, if_match: str | None = None) -> None:
        """Stop sending, and delete its secrets and its deliveries."""
        await self._connection.send("DELETE", _path(subscription_id), _NOTHING, headers=_condition(if_match))

    @operation
    async def rotate_secret(self, subscription_id: UUID | str, *, if_match: str | None = None) -> RotatedSecret:
        """Sign with a new secret from now on, and for 24 hours with the old one too."""
        path = f"{_path(subscription_id)}/rotate-secret"
        return (await self._connection.send("POST", path, _ROTATED, headers=_condition(if_match)))[0]

    @operation
    async def test(self, subscription_id: UUID | str) -> PingResult:
        """Send a ping now. A failed ping is a result and raises no error."""
        return (await self._connection.send("POST", f"{_path(subscription_id)}/test", _PING))[0]

    @operation
    async def replay(
        self,
        subscription_id: UUID | str,
        *,
        from_position: int | None = None,
        until_position: int | None = None,
        from_time: datetime | None = None,
        until_time: datetime | None = None,
    ) -> Subscription:
        """Deliver a range of events again, by position or by the time they were recorded; up to now without an end.

        Raises:
            Conflict: another replay is under way.
        """
        given: dict[str, Any] = {
            "from_position": from_position,
            "until_position": until_position,
            "from_time": None if from_time is None else from_time.isoformat(),
            "until_time": None if until_time is None else until_time.isoformat(),
        }
        body = {name: value for name, value in given.items() if value is not None}
        return (await self._connection.send("POST", f"{_path(subscription_id)}/replay", _SUBSCRIPTION, body))[0]

    @operation
    async def end_replay(self, subscription_id: UUID | str) -> None:
        """Skip the rest of a replay; without one nothing changes."""
        await self._connection.send("DELETE", f"{_path(subscription_id)}/replay", _NOTHING, repeatable=True)


async def _patch(
    connection: Connection, subscription_id: UUID | str, changes: Mapping[str, Any], if_match: str | None = None
) -> Subscription:
    changed, response = await connection.send(
        "PATCH",
        _path(subscription_id),
        _SUBSCRIPTION,
        changes,
        headers=_condition(if_match),
        repeatable=if_match is None,  # with a condition, the second attempt would fail because of the first one
    )
    return changed.model_copy(update={"etag": response.headers.get("ETag")})


def _path(subscription_id: UUID | str) -> str:
    return f"subscriptions/{path_id(subscription_id)}"


def _condition(if_match: str | None) -> dict[str, str]:
    return {} if if_match is None else {"If-Match": if_match}
