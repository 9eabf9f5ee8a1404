"""Local mode: where the secret comes from, and the tokens it signs."""

import asyncio
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jose import jwk

from app.auth.dependencies import TokenVerifier
from app.auth.local import LocalKey, LocalSecretError, load_secret, mint_local_token
from app.auth.token import Principal, Reason, Scope, TokenRejected
from app.config import Settings
from tests.auth.clock import FakeClock
from tests.support.tokens import SigningKey, sign

SECRET = "a-secret-of-this-test-with-enough-characters"
PLACEHOLDER = "your_secure_secret_key_here"
MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_local(tmp_path: Path) -> MakeSettings:
    """Settings of local mode, with changes."""

    def make(**changes: Any) -> Settings:
        defaults = {"auth0_domain": "", "secret_key": "", "secret_key_file": tmp_path / "secret"}
        return Settings(_env_file=None, **{**defaults, **changes})

    return make


def at(clock: FakeClock) -> datetime:
    return datetime.fromtimestamp(clock(), UTC)


def verify(settings: Settings, token: str, clock: FakeClock) -> Principal:
    return asyncio.run(TokenVerifier(settings, LocalKey(settings), now=clock).verify(token))


def rejection(settings: Settings, token: str, clock: FakeClock) -> Reason:
    with pytest.raises(TokenRejected) as rejected:
        verify(settings, token, clock)
    return rejected.value.reason


def test_the_secret_is_the_setting(make_local: MakeSettings, tmp_path: Path) -> None:
    assert load_secret(make_local(secret_key=SECRET)) == SECRET
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("secret_key", ["", PLACEHOLDER])
def test_a_secret_is_made_once_and_is_private(secret_key: str, make_local: MakeSettings, tmp_path: Path) -> None:
    settings = make_local(secret_key=secret_key)
    secret = load_secret(settings)
    assert len(secret) == 64
    assert load_secret(settings) == secret
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_no_two_machines_share_a_secret(make_local: MakeSettings, tmp_path: Path) -> None:
    assert load_secret(make_local()) != load_secret(make_local(secret_key_file=tmp_path / "other"))


def test_processes_that_start_at_once_agree(make_local: MakeSettings, tmp_path: Path) -> None:
    together = Barrier(16)

    def start(_number: int) -> str:
        together.wait()
        return load_secret(make_local())

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(start, range(16)))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("content", [b"", b" \n", b"x" * 31, b"\xff" * 40], ids=repr)
def test_a_bad_secret_file_is_refused_by_name(content: bytes, make_local: MakeSettings, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(LocalSecretError, match="SECRET_KEY_FILE") as refused:
        LocalKey(make_local())
    assert "xxx" not in str(refused.value)
    assert (tmp_path / "secret").read_bytes() == content


@pytest.mark.parametrize("name", ["directory", "missing/secret", "dangling"])
def test_a_secret_file_that_can_not_be_used_is_refused_by_name(
    name: str, make_local: MakeSettings, tmp_path: Path
) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(LocalSecretError, match="SECRET_KEY_FILE"):
        LocalKey(make_local(secret_key_file=tmp_path / name))


async def test_the_local_key_is_for_hs256_alone(make_local: MakeSettings) -> None:
    local = LocalKey(make_local())
    assert await local.find("", "HS256") is not None
    assert await local.find("", "RS256") is None


def test_a_key_file_is_no_secret(make_local: MakeSettings, key: SigningKey) -> None:
    public = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(LocalSecretError, match="SECRET_KEY"):
        LocalKey(make_local(secret_key=public.decode()))


def test_a_minted_token_is_good(make_local: MakeSettings, clock: FakeClock) -> None:
    settings = make_local()
    token = mint_local_token(settings, "me", [Scope.READ, Scope.ADMIN], timedelta(hours=1), at(clock))
    principal = verify(settings, token, clock)
    assert (principal.subject, principal.scopes) == ("me", frozenset({"read:sync", "admin:sync"}))
    assert principal.refused_from == int(clock.now) + 3600 + settings.auth_leeway_seconds
    assert verify(settings, mint_local_token(settings, "me", [], None, at(clock)), clock).scopes == frozenset()


@pytest.mark.parametrize(("lifetime", "minutes"), [(timedelta(minutes=5), 5), (None, 7)])
def test_a_minted_token_lives_as_long_as_it_should(
    lifetime: timedelta | None, minutes: int, make_local: MakeSettings, clock: FakeClock
) -> None:
    settings = make_local(auth_leeway_seconds=0, access_token_expire_minutes=7)
    token = mint_local_token(settings, "me", [], lifetime, at(clock))
    clock.advance(minutes * 60 - 1)
    assert verify(settings, token, clock)
    clock.advance(1)
    assert rejection(settings, token, clock) == Reason.EXPIRED


def test_a_token_of_another_secret_or_audience_is_refused(make_local: MakeSettings, clock: FakeClock) -> None:
    settings = make_local()
    strange = mint_local_token(make_local(secret_key=SECRET), "me", [], None, at(clock))
    assert rejection(settings, strange, clock) == Reason.SIGNATURE
    elsewhere = mint_local_token(make_local(api_audience="https://other/"), "me", [], None, at(clock))
    assert rejection(settings, elsewhere, clock) == Reason.AUDIENCE


def claims_of(settings: Settings, clock: FakeClock) -> dict[str, Any]:
    return {"iss": "sync-service-local", "aud": settings.api_audience, "sub": "me", "exp": clock() + 60}


@pytest.mark.parametrize("algorithm", ["HS384", "HS512", "none", "RS256"])
def test_local_mode_takes_hs256_alone(algorithm: str, make_local: MakeSettings, clock: FakeClock) -> None:
    settings = make_local(secret_key=SECRET)
    signer = jwk.construct(SECRET, algorithm if algorithm.startswith("HS") else "HS256")
    token = sign({"alg": algorithm}, claims_of(settings, clock), signer)
    assert rejection(settings, token, clock) == Reason.ALGORITHM


@pytest.mark.parametrize("header", [{}, {"kid": "any"}, {"kid": 5}], ids=repr)
def test_a_key_id_means_nothing_in_local_mode(
    header: dict[str, Any], make_local: MakeSettings, clock: FakeClock
) -> None:
    settings = make_local(secret_key=SECRET)
    token = sign({"alg": "HS256", **header}, claims_of(settings, clock), jwk.construct(SECRET, "HS256"))
    assert verify(settings, token, clock).subject == "me"
