"""Tokens of Auth0 for the source `cloud`."""

import asyncio
import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from app.consistency.models import Verdict
from app.consistency.sources.cloud import CloudClient
from tests.consistency.sources.siblings import Siblings, token_of
from tests.consistency.sources.support import OpenWorld, refresh
from tests.support.keyserver import KeyServer
from tests.support.marks import on_sqlite
from tests.support.tokens import SigningKey


@pytest.fixture
def auth0(issuer: KeyServer, signing_key: SigningKey) -> Iterator[KeyServer]:
    """The issuer, which serves its keys again afterwards."""
    yield issuer
    issuer.serve(signing_key)


@on_sqlite
async def test_a_token_of_auth0_is_fetched_once_and_again_when_refused(
    open_world: OpenWorld, siblings: Siblings, auth0: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    siblings.put(file_id := uuid4(), b"a")
    auth0.serve_bytes(json.dumps({"access_token": token_of("owner"), "expires_in": 600}).encode())
    before = len(auth0.requests)
    credentials = {"auth0_client_id": "me", "auth0_client_secret": "se cret", "consistency_token": ""}
    async with open_world(**credentials, auth0_domain=auth0.domain) as world:
        await world.upload(file_id, *(others := [uuid4() for _ in range(3)]))
        await asyncio.gather(*(world.consistency.files.refresh(one, str(one)) for one in others))
        assert await refresh(world, file_id) == Verdict.CONSISTENT
        assert auth0.requests[before:] == ["/oauth/token"]
        assert b"grant_type=client_credentials&client_id=me&client_secret=se+cret&audience=" in auth0.bodies[-1]
        siblings.meddle = lambda _method, _path: (401, b"")
        check = await world.check(*others)
        assert check.failed == 3
        siblings.asked()
        check = await world.check(*others)
        assert "the token that Auth0 has just issued is refused" in str(check.reason)
        assert siblings.asked() == []
        assert len(auth0.requests) - before == 1, "a new one would be refused too"
        siblings.meddle = lambda _method, _path: None
        cloud = world.consistency.files._checker._clients["cloud"]
        assert isinstance(cloud, CloudClient)
        monkeypatch.setattr(cloud._tokens, "_failed_until", 0)
        assert await refresh(world, file_id) == Verdict.CONSISTENT
        assert len(auth0.requests) - before == 2
        monkeypatch.setattr("app.consistency.sources.token.FAILURE_SECONDS", 0)
        siblings.meddle = lambda _method, _path: (401, b"")
        assert await refresh(world, file_id) == Verdict.UNKNOWN
        siblings.meddle = lambda _method, _path: None
        assert await refresh(world, file_id) == Verdict.CONSISTENT
        assert len(auth0.requests) - before == 3


@on_sqlite
async def test_credentials_that_auth0_refuses_are_not_sent_again_and_again(
    open_world: OpenWorld, siblings: Siblings, auth0: KeyServer
) -> None:
    auth0.serve_bytes(b"{}", status=403)
    before = len(auth0.requests)
    credentials = {"auth0_client_id": "me", "auth0_client_secret": "secret", "consistency_token": ""}
    async with open_world(**credentials, auth0_domain=auth0.domain) as world:
        await world.upload(*(files := [uuid4() for _ in range(3)]))
        check = await world.check(*files)
        assert "Auth0 issues no token: it responds with status 403" in str(check.reason)
    assert len(auth0.requests) == before + 1
    assert siblings.asked() == []
