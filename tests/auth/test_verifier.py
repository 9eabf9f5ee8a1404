"""What the verifier remembers, and when it forgets."""

from collections.abc import Callable
from typing import Any

import pytest
from jose.backends.base import Key

from app.auth.dependencies import TokenVerifier
from app.auth.keys import KeyStore
from app.auth.token import KeysUnavailable, Reason, TokenRejected
from app.config import Settings
from tests.auth.clock import FakeClock
from tests.support.keyserver import KeyServer
from tests.support.tokens import SigningKey, TokenFactory

MakeVerifier = Callable[..., TokenVerifier]
MakeStore = Callable[..., KeyStore]
Pair = tuple[TokenVerifier, KeyStore]


class CountingKeys:
    """The real key store, and how often a key was asked for: once for every token that was not remembered."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self.lookups = 0

    def generation(self) -> int:
        return self._store.generation()

    def ready(self) -> bool:
        return self._store.ready()

    async def find(self, key_id: str, algorithm: str) -> Key | None:
        self.lookups += 1
        return await self._store.find(key_id, algorithm)


@pytest.fixture
async def keys(make_store: MakeStore) -> CountingKeys:
    store = make_store()
    await store.refresh()
    return CountingKeys(store)


@pytest.fixture
def make_counted(
    keys: CountingKeys, make_settings: Callable[..., Settings], clock: FakeClock
) -> Callable[..., TokenVerifier]:
    """Verifiers whose key look-ups are counted."""
    return lambda **changes: TokenVerifier(make_settings(**changes), keys, now=clock)


@pytest.fixture
def pair(make_settings: Callable[..., Settings], make_store: MakeStore, clock: FakeClock) -> Pair:
    """A verifier, and the key store that it uses."""
    store = make_store()
    return TokenVerifier(make_settings(), store, now=clock), store


async def test_a_token_is_verified_once(
    make_counted: MakeVerifier, keys: CountingKeys, tokens: TokenFactory, clock: FakeClock
) -> None:
    verifier, token = make_counted(), tokens.token(now=clock(), scope="read:sync")
    principals = [await verifier.verify(token) for _ in range(5)]
    assert keys.lookups == 1
    assert {(principal.subject, principal.scopes) for principal in principals} == {
        ("chunker@clients", frozenset({"read:sync"}))
    }


async def test_tokens_are_remembered_again_after_the_keys_have_changed(
    make_settings: Callable[..., Settings], make_store: MakeStore, tokens: TokenFactory, clock: FakeClock
) -> None:
    keys = CountingKeys(make_store())
    verifier, token = TokenVerifier(make_settings(), keys, now=clock), tokens.token(now=clock())
    for _ in range(5):
        await verifier.verify(token)
    assert keys.lookups <= 2


async def test_every_token_is_remembered_for_itself(
    make_counted: MakeVerifier, tokens: TokenFactory, clock: FakeClock
) -> None:
    verifier = make_counted()
    made = {subject: tokens.token(now=clock(), sub=subject) for subject in ("one", "two")}
    for subject, token in [*made.items(), *made.items()]:
        assert (await verifier.verify(token)).subject == subject


async def test_a_cache_of_size_0_is_off(
    make_counted: MakeVerifier, keys: CountingKeys, tokens: TokenFactory, clock: FakeClock
) -> None:
    verifier, token = make_counted(auth_token_cache_size=0), tokens.token(now=clock())
    for _ in range(3):
        await verifier.verify(token)
    assert keys.lookups == 3


async def test_the_least_recently_used_token_is_forgotten(
    make_counted: MakeVerifier, keys: CountingKeys, tokens: TokenFactory, clock: FakeClock
) -> None:
    verifier = make_counted(auth_token_cache_size=2)
    one, two, three = (tokens.token(now=clock(), sub=subject) for subject in ("one", "two", "three"))
    for token in (one, two, one, three, one):
        await verifier.verify(token)
    assert keys.lookups == 3
    await verifier.verify(two)
    assert keys.lookups == 4


async def test_nothing_is_remembered_past_its_expiry(
    make_counted: MakeVerifier, keys: CountingKeys, tokens: TokenFactory, clock: FakeClock
) -> None:
    verifier, token = make_counted(auth_leeway_seconds=10), tokens.token(now=clock(), exp=clock() + 60)
    await verifier.verify(token)
    clock.advance(59.9)
    await verifier.verify(token)
    assert keys.lookups == 1
    clock.advance(0.1)
    await verifier.verify(token)
    assert keys.lookups == 2
    clock.advance(10)
    with pytest.raises(TokenRejected) as rejected:
        await verifier.verify(token)
    assert rejected.value.reason == Reason.EXPIRED


async def test_without_leeway_a_remembered_token_ends_at_its_expiry(
    make_counted: MakeVerifier, tokens: TokenFactory, clock: FakeClock
) -> None:
    verifier, token = make_counted(auth_leeway_seconds=0), tokens.token(now=clock(), exp=clock() + 60)
    await verifier.verify(token)
    clock.advance(60)
    with pytest.raises(TokenRejected):
        await verifier.verify(token)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_a_clock_set_back_makes_a_remembered_token_too_early(
    claim: str, make_counted: MakeVerifier, tokens: TokenFactory, clock: FakeClock
) -> None:
    verifier = make_counted(auth_leeway_seconds=10)
    times: dict[str, Any] = {"iat": clock() - 99, "nbf": clock() - 99, claim: clock() + 10}
    token = tokens.token(now=clock(), **times)
    await verifier.verify(token)
    clock.advance(-0.1)
    with pytest.raises(TokenRejected) as rejected:
        await verifier.verify(token)
    assert rejected.value.reason in {Reason.NOT_YET_VALID, Reason.ISSUED_LATER}


async def test_a_refused_token_is_not_remembered(
    make_counted: MakeVerifier, keys: CountingKeys, tokens: TokenFactory, clock: FakeClock
) -> None:
    verifier, early = make_counted(auth_leeway_seconds=0), tokens.token(now=clock(), nbf=clock() + 5)
    with pytest.raises(TokenRejected):
        await verifier.verify(early)
    clock.advance(5)
    await verifier.verify(early)
    assert keys.lookups == 2


async def test_tokens_of_a_revoked_key_are_forgotten(
    pair: Pair, tokens: TokenFactory, clock: FakeClock, key_server: KeyServer, second_key: SigningKey
) -> None:
    (verifier, store), token = pair, tokens.token(now=clock())
    for _ in range(3):
        await verifier.verify(token)
    key_server.serve(second_key)
    await store.refresh()
    with pytest.raises(TokenRejected) as rejected:
        await verifier.verify(token)
    assert rejected.value.reason == Reason.UNKNOWN_KEY


async def test_a_key_replaced_under_its_old_name_proves_no_old_token(
    pair: Pair, tokens: TokenFactory, clock: FakeClock, key_server: KeyServer, second_key: SigningKey
) -> None:
    (verifier, store), token = pair, tokens.token(now=clock())
    for _ in range(3):
        await verifier.verify(token)
    key_server.serve(second_key.named("first"))
    await store.refresh()
    with pytest.raises(TokenRejected) as rejected:
        await verifier.verify(token)
    assert rejected.value.reason == Reason.SIGNATURE


async def test_a_refresh_without_change_forgets_nothing(
    make_settings: Callable[..., Settings], make_store: MakeStore, tokens: TokenFactory, clock: FakeClock
) -> None:
    store = make_store()
    await store.refresh()
    keys = CountingKeys(store)
    verifier, token = TokenVerifier(make_settings(), keys, now=clock), tokens.token(now=clock())
    await verifier.verify(token)
    assert await store.refresh() is True
    await verifier.verify(token)
    assert keys.lookups == 1


async def test_a_remembered_token_is_no_use_once_the_keys_have_aged_out(
    make_verifier: MakeVerifier, tokens: TokenFactory, clock: FakeClock, key_server: KeyServer
) -> None:
    verifier = make_verifier(jwks_max_age_seconds=1000, jwks_refresh_seconds=500)
    token = tokens.token(now=clock())
    for _ in range(3):
        await verifier.verify(token)
    key_server.fail()
    clock.advance(1000)
    with pytest.raises(KeysUnavailable):
        await verifier.verify(token)


async def test_without_any_keys_the_answer_is_503_and_not_401(
    make_verifier: MakeVerifier, tokens: TokenFactory, clock: FakeClock, key_server: KeyServer
) -> None:
    key_server.fail()
    verifier = make_verifier()
    with pytest.raises(KeysUnavailable):
        await verifier.verify(tokens.token(now=clock()))
    with pytest.raises(TokenRejected):
        await verifier.verify("no token at all")


async def test_the_issuer_has_the_port_of_the_domain(
    make_verifier: MakeVerifier, tokens: TokenFactory, clock: FakeClock, key_server: KeyServer
) -> None:
    without_port = f"https://{key_server.domain.partition(':')[0]}/"
    with pytest.raises(TokenRejected) as rejected:
        await make_verifier().verify(tokens.token(now=clock(), iss=without_port))
    assert rejected.value.reason == Reason.ISSUER
