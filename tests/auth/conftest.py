"""What the tests of authentication share: keys, their server, and a clock that stands still."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.auth.dependencies import TokenVerifier
from app.auth.keys import KeyStore
from app.config import Settings
from tests.auth.clock import FakeClock
from tests.support.keyserver import KeyServer
from tests.support.tokens import SigningKey, TokenFactory

AUDIENCE = "https://cloud-api.rakai/"


@pytest.fixture(scope="session")
def key() -> SigningKey:
    """The key that the key server publishes at first."""
    return SigningKey.rsa("first")


@pytest.fixture(scope="session")
def second_key() -> SigningKey:
    """A key to rotate to."""
    return SigningKey.rsa("second")


@pytest.fixture
def key_server(key: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyServer]:
    """A running key server that this process trusts, and that publishes `key`."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with KeyServer(tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca_file))
        server.serve(key)
        yield server


@pytest.fixture
def make_settings(key_server: KeyServer, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of Auth0 mode against the key server, with changes."""

    def make(**changes: Any) -> Settings:
        defaults = {
            "database_url": f"sqlite:///{tmp_path / 'sync.db'}",
            "auth0_domain": key_server.domain,
            "api_audience": AUDIENCE,
            "auth_leeway_seconds": 10,
        }
        return Settings(_env_file=None, **{**defaults, **changes})

    return make


@pytest.fixture
def clock() -> FakeClock:
    """Both clocks of the service, the wall clock and the monotonic one."""
    return FakeClock()


@pytest.fixture
async def make_store(
    make_settings: Callable[..., Settings], clock: FakeClock
) -> AsyncIterator[Callable[..., KeyStore]]:
    """Key stores for changed settings, closed after the test."""
    stores: list[KeyStore] = []

    def make(**changes: Any) -> KeyStore:
        stores.append(KeyStore(make_settings(**changes), clock=clock))
        return stores[-1]

    yield make
    for store in stores:
        await store.close()


@pytest.fixture
def make_verifier(
    make_store: Callable[..., KeyStore], make_settings: Callable[..., Settings], clock: FakeClock
) -> Callable[..., TokenVerifier]:
    """Verifiers of Auth0 mode for changed settings, each with a key store of its own."""
    return lambda **changes: TokenVerifier(make_settings(**changes), make_store(**changes), now=clock)


@pytest.fixture
def tokens(key_server: KeyServer, key: SigningKey) -> TokenFactory:
    """Makes tokens signed with the published key."""
    return TokenFactory(key_server.issuer, AUDIENCE, key)
