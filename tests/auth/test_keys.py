"""The key store: rotation, single flight and cool-down."""

import asyncio
from collections.abc import Callable

import pytest

from app.auth.keys import KeyStore
from tests.auth.clock import FakeClock
from tests.support.keyserver import PATH, KeyServer
from tests.support.tokens import SigningKey

MakeStore = Callable[..., KeyStore]


async def test_keys_are_fetched_once_and_then_cached(make_store: MakeStore, key_server: KeyServer) -> None:
    store = make_store()
    for _ in range(3):
        assert await store.find("first", "RS256") is not None
    assert key_server.requests == [PATH]


async def test_a_key_is_found_for_its_own_algorithm_only(make_store: MakeStore) -> None:
    store = make_store(algorithms="RS256,RS384")
    assert await store.find("first", "RS256") is not None
    assert await store.find("first", "RS384") is None


async def test_100_requests_at_once_cause_one_fetch(make_store: MakeStore, key_server: KeyServer) -> None:
    store = make_store()
    key_server.hold()
    waiting = [asyncio.create_task(store.find("first", "RS256")) for _ in range(100)]
    await asyncio.to_thread(key_server.wait_for_requests, 1)
    key_server.release()
    assert None not in await asyncio.gather(*waiting)
    assert len(key_server.requests) == 1


async def test_a_refresh_shares_the_fetch_under_way(make_store: MakeStore, key_server: KeyServer) -> None:
    store = make_store()
    key_server.hold()
    waiting = [asyncio.create_task(coroutine) for coroutine in (store.refresh(), store.refresh())]
    await asyncio.to_thread(key_server.wait_for_requests, 1)
    key_server.release()
    assert await asyncio.gather(*waiting) == [True, True]
    assert len(key_server.requests) == 1


async def test_a_rotated_key_is_found_at_once_and_the_old_one_is_gone(
    make_store: MakeStore, key_server: KeyServer, second_key: SigningKey
) -> None:
    store = make_store()
    await store.find("first", "RS256")
    key_server.serve(second_key)
    assert await store.find("second", "RS256") is not None
    assert await store.find("first", "RS256") is None


async def test_a_revoked_key_is_gone_after_the_next_refresh(
    make_store: MakeStore, key_server: KeyServer, key: SigningKey, second_key: SigningKey
) -> None:
    store = make_store()
    key_server.serve(key, second_key)
    await store.refresh()
    key_server.serve(key)
    await store.refresh()
    assert await store.find("second", "RS256") is None
    assert await store.find("first", "RS256") is not None


async def test_unknown_key_ids_cause_one_fetch_per_cooldown(
    make_store: MakeStore, key_server: KeyServer, clock: FakeClock
) -> None:
    store = make_store(jwks_cooldown_seconds=30)
    await store.refresh()
    for number in range(50):
        assert await store.find(f"no-{number}", "RS256") is None
    assert len(key_server.requests) == 2
    clock.advance(29.9)
    assert await store.find("no", "RS256") is None
    assert len(key_server.requests) == 2
    clock.advance(0.2)
    assert await store.find("no", "RS256") is None
    assert len(key_server.requests) == 3


async def test_a_first_fetch_for_an_unknown_key_id_starts_the_cooldown(
    make_store: MakeStore, key_server: KeyServer
) -> None:
    store = make_store()
    for number in range(10):
        assert await store.find(f"no-{number}", "RS256") is None
    assert len(key_server.requests) == 1


async def test_a_failed_fetch_counts_for_the_cooldown_and_keeps_the_keys(
    make_store: MakeStore, key_server: KeyServer, clock: FakeClock
) -> None:
    store = make_store(jwks_cooldown_seconds=30)
    await store.refresh()
    key_server.fail()
    for number in range(10):
        assert await store.find(f"no-{number}", "RS256") is None
    assert len(key_server.requests) == 2
    assert await store.find("first", "RS256") is not None
    clock.advance(31)
    assert await store.find("no", "RS256") is None
    assert len(key_server.requests) == 3


async def test_a_found_key_ends_the_cooldown(
    make_store: MakeStore, key_server: KeyServer, key: SigningKey, second_key: SigningKey
) -> None:
    store = make_store()
    for served in (key, second_key, key):
        key_server.serve(served)
        assert await store.find(served.key_id, "RS256") is not None


async def test_those_with_a_key_do_not_wait_for_a_fetch(make_store: MakeStore, key_server: KeyServer) -> None:
    store = make_store()
    await store.refresh()
    key_server.hold()
    unknown = asyncio.create_task(store.find("no", "RS256"))
    await asyncio.to_thread(key_server.wait_for_requests, 2)
    assert await store.find("first", "RS256") is not None
    assert not unknown.done()
    key_server.release()
    assert await unknown is None


async def test_a_cancelled_caller_leaves_the_fetch_to_the_others(make_store: MakeStore, key_server: KeyServer) -> None:
    store = make_store()
    key_server.hold()
    first, second = (asyncio.create_task(store.find("first", "RS256")) for _ in range(2))
    await asyncio.to_thread(key_server.wait_for_requests, 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    key_server.release()
    assert await second is not None
    assert len(key_server.requests) == 1


async def test_the_generation_changes_with_the_keys_only(
    make_store: MakeStore, key_server: KeyServer, key: SigningKey, second_key: SigningKey
) -> None:
    store = make_store()
    seen = [store.generation()]
    for served in (
        [key],
        [key],
        [key, second_key],
        [second_key, key],
        [second_key.named("first"), second_key],
    ):
        key_server.serve(*served)
        await store.refresh()
        seen.append(store.generation())
    assert seen == [0, 1, 1, 2, 2, 3]
