"""Subscriptions as operators manage them: create, change, delete, rotate the secret, replay."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from app.database.engine import Database
from app.database.sql import read_now
from app.events.models import EventType
from app.http.dependencies import IfMatch
from app.outbound.address import AddressPolicy
from app.outbound.endpoint import change_headers, check_url, encrypt_headers, list_header_names
from app.outbound.secret import EncryptionKeyMissing, SecretCipher, new_secret
from app.subscriptions.lane import lock_lanes
from app.subscriptions.models import Subscription, SubscriptionStatus
from app.subscriptions.repository import OverviewRepository, SubscriptionOverview, SubscriptionRepository
from app.subscriptions.schemas import NewSubscription, Replay, SubscriptionChange
from app.subscriptions.types import (
    BeyondLedger,
    NothingToReplay,
    ReplayUnderWay,
    TooManySubscriptions,
)

OLD_SECRET_SIGNS = timedelta(hours=24)
_CHANGEABLE = ("url", "description", "event_types", "headers", "max_concurrency", "rate_limit_per_second", "status")


class SubscriptionService:
    """Each call is one transaction, under the lanes' lock where it writes. The callbacks run after the commit."""

    def __init__(
        self,
        database: Database,
        cipher: SecretCipher,
        policy: AddressPolicy,
        *,
        max_subscriptions: int,
        on_changed: Callable[[], None],
        on_deleted: Callable[[], None],
    ) -> None:
        self._database = database
        self._cipher = cipher
        self._policy = policy
        self._max_subscriptions = max_subscriptions
        self._on_changed = on_changed
        self._on_deleted = on_deleted

    def header_names(self, subscription: Subscription) -> list[str] | None:
        """The names of its headers; None when no key decrypts them."""
        return list_header_names(self._cipher, subscription.headers)

    async def create(self, new: NewSubscription, created_by: str) -> tuple[SubscriptionOverview, str]:
        """Create a subscription; returns its secret too.

        Raises:
            UrlRefused, BeyondLedger: 422.
            TooManySubscriptions: 409.
            NoEncryptionKey: 503.
        """
        url = check_url(self._policy, new.url, "subscriber")
        secret = new.secret.get_secret_value() if new.secret else new_secret()
        stored = self._store(new, url, created_by, secret)
        async with self._database.transaction() as session:
            overviews, repository = OverviewRepository(session), SubscriptionRepository(session)
            await lock_lanes(session)
            if await overviews.count() >= self._max_subscriptions:
                raise TooManySubscriptions(self._max_subscriptions)
            if new.start is not None and new.start > await overviews.get_head():
                raise BeyondLedger("start")
            stored.created_at = stored.updated_at = await read_now(session)
            await repository.add_subscription(stored, after=new.start)
            if new.status == "paused":
                await repository.mark_paused(stored)
            overview = await _flushed(session, stored)
        self._on_changed()
        return overview, secret

    async def change(
        self, subscription_id: UUID, change: SubscriptionChange, condition: IfMatch
    ) -> SubscriptionOverview:
        """Change what `change` names; the version rises only when something differs.

        Raises:
            NotFound: 404.
            PreconditionFailed: 412.
            UrlRefused, TooManyHeaders: 422.
            NoEncryptionKey, EncryptionKeyMissing: 503.
        """
        url = None
        if "url" in change.model_fields_set:
            url = check_url(self._policy, change.url, "subscriber")
        async with self._database.transaction() as session:
            stored = await SubscriptionRepository(session).get_for_change(subscription_id)
            condition.check(stored.version)
            before = _described(stored)
            await self._apply(session, stored, change, url)
            if _described(stored) != before:
                await _mark_changed(session, stored)
            overview = await _flushed(session, stored)
        self._on_changed()
        return overview

    async def delete(self, subscription_id: UUID, condition: IfMatch) -> None:
        """Hide the subscription and stop its deliveries; the background removes its rows.

        Raises:
            NotFound: 404.
            PreconditionFailed: 412.
        """
        async with self._database.transaction() as session:
            repository = SubscriptionRepository(session)
            stored = await repository.get_for_change(subscription_id)
            condition.check(stored.version)
            await repository.mark_deleted(stored)
        self._on_deleted()

    async def rotate_secret(self, subscription_id: UUID, condition: IfMatch) -> tuple[Subscription, str]:
        """Sign with a new secret, which is returned, and for 24 hours with the present one too if a key decrypts it.

        Raises:
            NotFound: 404.
            PreconditionFailed: 412.
            NoEncryptionKey: 503.
        """
        secret = new_secret()
        encrypted = self._cipher.encrypt(secret)
        async with self._database.transaction() as session:
            stored = await SubscriptionRepository(session).get_for_change(subscription_id)
            condition.check(stored.version)
            await _mark_changed(session, stored)
            is_kept = self._is_readable(stored.secret)
            stored.old_secret, stored.secret = stored.secret if is_kept else None, encrypted
            stored.old_secret_until = stored.updated_at + OLD_SECRET_SIGNS if is_kept else None
        return stored, secret

    async def replay(self, subscription_id: UUID, replay: Replay) -> SubscriptionOverview:
        """Deliver a range again.

        Raises:
            NotFound: 404.
            ReplayUnderWay, NothingToReplay: 409.
            BeyondLedger: 422.
        """
        async with self._database.transaction() as session:
            repository = SubscriptionRepository(session)
            stored = await repository.get_for_change(subscription_id)
            if stored.replay_until is not None:
                raise ReplayUnderWay
            after, through = await _find_range(OverviewRepository(session), replay)
            if not await repository.add_replay(stored, after=after, through=through):
                raise NothingToReplay
            return await _flushed(session, stored)

    async def end_replay(self, subscription_id: UUID) -> None:
        """Skip the rest of the replay under way, if there is one; raises `NotFound` (404)."""
        async with self._database.transaction() as session:
            stored = await SubscriptionRepository(session).get_for_change(subscription_id)
            stored.replay_cursor = stored.replay_until = None

    def _store(self, new: NewSubscription, url: str, created_by: str, secret: str) -> Subscription:
        return Subscription(
            id=uuid7(),
            url=url,
            description=new.description,
            event_types=_event_types(new.event_types),
            ordering=new.ordering,
            max_concurrency=new.max_concurrency,
            rate_limit_per_second=new.rate_limit_per_second,
            headers=encrypt_headers(self._cipher, new.headers),
            status=SubscriptionStatus.ACTIVE,
            created_by=created_by,
            version=1,
            secret=self._cipher.encrypt(secret),
            slow_count=0,
        )

    async def _apply(
        self, session: AsyncSession, stored: Subscription, change: SubscriptionChange, url: str | None
    ) -> None:
        sent, repository = change.model_fields_set, SubscriptionRepository(session)
        for name in sent & {"description", "max_concurrency", "rate_limit_per_second"}:
            setattr(stored, name, getattr(change, name))
        if "event_types" in sent:
            stored.event_types = _event_types(change.event_types)
        if "headers" in sent:
            stored.headers = change_headers(self._cipher, stored.headers, change.headers, "subscription")
        if url is not None and stored.url != url:
            stored.url = url
            await repository.mark_fresh(stored)
        if "status" in sent:
            mark = repository.mark_active if change.status == "active" else repository.mark_paused
            await mark(stored)

    def _is_readable(self, encrypted: bytes) -> bool:
        try:
            self._cipher.decrypt(encrypted)
        except EncryptionKeyMissing:
            return False
        return True


async def _find_range(overviews: OverviewRepository, replay: Replay) -> tuple[int, int | None]:
    """The position before the range, and its last one; None: up to now."""
    if replay.from_position is not None:
        if replay.from_position > await overviews.get_head():
            raise BeyondLedger("from_position")
        return replay.from_position - 1, replay.until_position
    after = await overviews.find_last_before(replay.from_time) if replay.from_time else 0
    return after, await overviews.find_last_before(replay.until_time) if replay.until_time else None


async def _flushed(session: AsyncSession, stored: Subscription) -> SubscriptionOverview:
    await session.flush()
    return await OverviewRepository(session).get(stored.id)


async def _mark_changed(session: AsyncSession, stored: Subscription) -> None:
    stored.version += 1
    stored.updated_at = await read_now(session)


def _described(stored: Subscription) -> Sequence[Any]:
    return [getattr(stored, name) for name in _CHANGEABLE]


def _event_types(chosen: Iterable[EventType]) -> str:
    return " ".join(name for name in EventType if name in set(chosen))
