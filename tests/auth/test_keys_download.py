"""The key store against a key server that misbehaves: bounded in time and size, and never a good key lost."""

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.auth.keys import MAX_DOCUMENT_BYTES, KeyStore
from tests.support.keyserver import PATH, KeyServer
from tests.support.tokens import SigningKey

MakeStore = Callable[..., KeyStore]

MISBEHAVIOUR: dict[str, Callable[[KeyServer], None]] = {
    "500": lambda server: server.fail(),
    "404": lambda server: server.fail(404),
    "204": lambda server: server.serve_bytes(b"", status=204),
    "not JSON": lambda server: server.serve_bytes(b"<html>"),
    "not UTF-8": lambda server: server.serve_bytes(b'{"keys": ["\xff"]}'),
    "nested deeply": lambda server: server.serve_bytes(b"[" * 200_000),
    "not an object": lambda server: server.serve_bytes(b"[]"),
    "no keys member": lambda server: server.serve_bytes(b"{}"),
    "no list of keys": lambda server: server.serve_bytes(b'{"keys": {}}'),
    "no keys": lambda server: server.serve(),
    "no usable key": lambda server: server.serve({"kty": "oct", "kid": "first", "k": "c2VjcmV0", "alg": "HS256"}),
    "redirect": lambda server: server.redirect(f"https://{server.domain}/elsewhere"),
    "hang": lambda server: server.hang(),
    "drip": lambda server: server.drip(),
    "flood": lambda server: server.flood(),
}
ENDED_BY_TIME = {"hang", "drip"}


@pytest.mark.parametrize("misbehaviour", MISBEHAVIOUR)
async def test_good_keys_survive(misbehaviour: str, make_store: MakeStore, key_server: KeyServer) -> None:
    store = make_store(jwks_timeout_seconds=60)
    assert await store.refresh() is True
    generation = store.generation()
    MISBEHAVIOUR[misbehaviour](key_server)
    if misbehaviour in ENDED_BY_TIME:
        store._settings = store._settings.model_copy(update={"jwks_timeout_seconds": 0.3})
    assert await store.refresh() is False
    assert await store.find("first", "RS256") is not None
    assert store.generation() == generation


@pytest.mark.parametrize("status", [201, 203, 302, 404, 500])
async def test_only_status_200_brings_keys(
    status: int, make_store: MakeStore, key_server: KeyServer, key: SigningKey
) -> None:
    key_server.serve_bytes(json.dumps({"keys": [key.public_jwk()]}).encode(), status=status)
    assert await make_store().refresh() is False


async def test_a_redirect_is_not_followed(make_store: MakeStore, key_server: KeyServer) -> None:
    key_server.redirect(f"https://{key_server.domain}/elsewhere")
    assert await make_store().refresh() is False
    assert key_server.requests == [PATH]


@pytest.mark.parametrize("slow", ["hang", "drip"])
async def test_the_timeout_spans_the_whole_fetch(slow: str, make_store: MakeStore, key_server: KeyServer) -> None:
    store = make_store(jwks_timeout_seconds=0.3)
    getattr(key_server, slow)()
    started = time.monotonic()
    assert await store.refresh() is False
    assert 0.2 < time.monotonic() - started < 2


async def test_an_endless_body_is_cut_off_by_its_size(make_store: MakeStore, key_server: KeyServer) -> None:
    store = make_store(jwks_timeout_seconds=60)
    key_server.flood()
    async with asyncio.timeout(10):
        assert await store.refresh() is False


@pytest.mark.parametrize(("excess", "accepted"), [(0, True), (1, False)])
async def test_the_size_limit_is_exact(
    excess: int, accepted: bool, make_store: MakeStore, key_server: KeyServer, key: SigningKey
) -> None:
    document = json.dumps({"keys": [key.public_jwk()]}).encode()
    key_server.serve_bytes(document.ljust(MAX_DOCUMENT_BYTES + excess))
    assert await make_store().refresh() is accepted


async def test_a_compressed_document_is_refused(make_store: MakeStore, key_server: KeyServer, key: SigningKey) -> None:
    document = json.dumps({"keys": [key.public_jwk()]}).encode()
    key_server.serve_bytes(gzip.compress(document), Content_Encoding="gzip")
    assert await make_store().refresh() is False


async def test_a_server_with_an_untrusted_certificate_is_refused(
    make_store: MakeStore, key_server: KeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    with KeyServer(tmp_path / "other") as other:
        monkeypatch.setenv("SSL_CERT_FILE", str(other.ca_file))
        assert await make_store().refresh() is False
    assert key_server.requests == []


async def test_nobody_listening_is_a_failed_fetch(make_store: MakeStore) -> None:
    assert await make_store(auth0_domain="localhost:1").refresh() is False
