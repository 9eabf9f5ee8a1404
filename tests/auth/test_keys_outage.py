"""The key store while no keys can be had: 503 at first, then again once those it has are too old."""

import asyncio
from collections.abc import Callable

import pytest

from app.auth.keys import KeyStore
from app.auth.token import KeysUnavailable
from tests.auth.clock import FakeClock
from tests.support.keyserver import KeyServer
from tests.support.tokens import SigningKey

MakeStore = Callable[..., KeyStore]


async def test_an_outage_at_start_is_503_and_ends_soon(
    make_store: MakeStore, key_server: KeyServer, key: SigningKey, clock: FakeClock
) -> None:
    store = make_store(jwks_cooldown_seconds=30)
    key_server.fail()
    assert await store.refresh() is False
    for _ in range(20):
        with pytest.raises(KeysUnavailable) as unavailable:
            await store.find("first", "RS256")
        assert unavailable.value.headers == {"Retry-After": "2"}
    assert len(key_server.requests) == 1
    key_server.serve(key)
    clock.advance(2)
    assert await store.find("first", "RS256") is not None


async def test_100_requests_in_an_outage_cause_one_fetch(make_store: MakeStore, key_server: KeyServer) -> None:
    store = make_store()
    key_server.fail()
    key_server.hold()
    waiting = [asyncio.create_task(store.find("first", "RS256")) for _ in range(100)]
    await asyncio.to_thread(key_server.wait_for_requests, 1)
    key_server.release()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {KeysUnavailable}
    assert len(key_server.requests) == 1


async def test_keys_that_nobody_confirms_stop_working(
    make_store: MakeStore, key_server: KeyServer, key: SigningKey, clock: FakeClock
) -> None:
    store = make_store(jwks_max_age_seconds=1000, jwks_refresh_seconds=500)
    await store.refresh()
    key_server.fail()
    generation = store.generation()
    clock.advance(999)
    assert await store.refresh() is False
    assert await store.find("first", "RS256") is not None
    assert (store.ready(), store.generation()) == (True, generation)
    clock.advance(1)
    assert store.generation() > generation
    assert store.ready() is False
    with pytest.raises(KeysUnavailable):
        await store.find("first", "RS256")
    key_server.serve(key)
    clock.advance(2)
    assert await store.find("first", "RS256") is not None
    assert store.ready() is True


async def test_a_confirmation_starts_the_age_anew(make_store: MakeStore, clock: FakeClock) -> None:
    store = make_store(jwks_max_age_seconds=1000, jwks_refresh_seconds=500)
    for _ in range(3):
        assert await store.refresh() is True
        clock.advance(600)
    assert store.ready() is True


async def test_closing_in_the_middle_of_a_fetch_is_503_for_those_who_wait(
    make_store: MakeStore, key_server: KeyServer
) -> None:
    store = make_store()
    key_server.hang()
    waiting = asyncio.create_task(store.find("first", "RS256"))
    await asyncio.to_thread(key_server.wait_for_requests, 1)
    await store.close()
    with pytest.raises(KeysUnavailable) as unavailable:
        await waiting
    assert unavailable.value.headers == {"Retry-After": "1"}
    assert await store.refresh() is False


async def test_a_refresh_that_failed_is_due_again_at_once(
    make_store: MakeStore, key_server: KeyServer, key: SigningKey, clock: FakeClock
) -> None:
    store = make_store(jwks_refresh_seconds=600)
    key_server.serve(key)
    await store.refresh_if_due()
    await store.refresh_if_due()
    assert len(key_server.requests) == 1
    clock.advance(600)
    key_server.fail()
    await store.refresh_if_due()
    await store.refresh_if_due()
    assert len(key_server.requests) == 3
