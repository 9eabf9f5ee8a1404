"""The source `cloud`, against the siblings of the examples over HTTP, on both databases where they differ."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.consistency.models import CheckState, Verdict
from app.consistency.service import open_consistency
from app.consistency.sources.cloud import CloudClient
from app.consistency.sources.repository import CLOUD_ID
from app.consistency.sources.request import BlockSubset, RetryPolicy
from app.database.engine import Database
from tests.conftest import MakeSettings
from tests.consistency.owner import Owner, serving
from tests.consistency.siblings import Reply, Siblings, expected_block, serve_siblings, token_of
from tests.consistency.world import ShiftedClock, World
from tests.events.support import open_ledger
from tests.support.keyserver import KeyServer
from tests.support.marks import on_sqlite
from tests.support.tokens import SigningKey

OpenWorld = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.consistency.sources.request.FIRST_WAIT_SECONDS", 0.001)


@pytest.fixture
async def siblings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Siblings]:
    async with serve_siblings(tmp_path, monkeypatch) as siblings:
        yield siblings


@pytest.fixture
def open_world(make_settings: MakeSettings, database: Database, siblings: Siblings) -> OpenWorld:
    """A ledger beside the siblings. Its events are older than the grace period as soon as they are processed."""

    @asynccontextmanager
    async def open_(**changes: Any) -> AsyncIterator[World]:
        settings = {
            "webhook_allow_private_addresses": False,  # the addresses of the environment are trusted
            "webhook_ports": (443,),
            "metadata_service_url": siblings.metadata_url,
            "block_storage_service_url": siblings.block_url,
            "consistency_token": token_of("owner"),
            **changes,
        }
        clock = ShiftedClock()
        clock.advance(400)
        async with open_consistency(make_settings(**settings), database, open_ledger(database), clock) as consistency:
            world = World(database, consistency, Owner(), clock, CLOUD_ID)
            await world.run()
            yield world
            await consistency.tasks.stop(1)

    return open_


@pytest.fixture
async def world(open_world: OpenWorld) -> AsyncIterator[World]:
    async with open_world(consistency_token_sees_all=True) as world:
        yield world


@pytest.fixture
def auth0(issuer: KeyServer, signing_key: SigningKey) -> Iterator[KeyServer]:
    """The issuer, which serves its keys again afterwards."""
    yield issuer
    issuer.serve(signing_key)


async def refresh(world: World, file_id: UUID) -> Verdict:
    [found] = (await world.consistency.files.refresh(file_id, "tester")).sources
    return found.verdict


@on_sqlite
async def test_a_file_of_three_blocks_costs_five_requests_and_no_download(world: World, siblings: Siblings) -> None:
    large = [bytes([number]) * 4_000_000 for number in range(3)]
    first, second = uuid4(), uuid4()
    paths = siblings.put(first, *large)
    siblings.put(second, *large)
    await world.upload(first, second, blocks=paths)
    assert siblings.relay
    siblings.relay.passed_back = 0
    assert await refresh(world, first) == Verdict.CONSISTENT
    requests = siblings.asked()
    assert [one for one in requests if not one.startswith("HEAD")] == [
        f"GET /files/{first}",
        f"GET /files/{first}/chunks",
        *(f"GET /chunks/{path}" for path in paths),
    ]
    assert len(requests) == 6
    assert "HEAD" in requests[3]
    assert await refresh(world, second) == Verdict.CONSISTENT
    assert len(siblings.asked()) == 5
    assert siblings.relay.passed_back < 6 * 4_000_000 / 2


@on_sqlite
async def test_head_is_used_where_it_works(world: World, siblings: Siblings) -> None:
    siblings.put(file_id := uuid4(), b"a", b"b", b"c")
    siblings.meddle = lambda method, _path: (200, b"") if method == "HEAD" else None
    await world.upload(file_id)
    await refresh(world, file_id)
    assert [one.split()[0] for one in siblings.asked()] == ["GET", "GET", "GET", "HEAD", "HEAD", "HEAD"]


@on_sqlite
async def test_a_lost_block_is_suspected_then_open_then_resolved(world: World, siblings: Siblings) -> None:
    """The metadata service names it, even when no event does."""
    paths = siblings.put(file_id := uuid4(), b"a", b"b")
    await world.upload(file_id)
    content = siblings.block(paths[0]).read_bytes()
    siblings.block(paths[0]).unlink()
    assert await refresh(world, file_id) == Verdict.INCONSISTENT
    lost = (file_id, "missing_block")
    assert await world.states() == {lost: "suspected"}
    await world.age()
    assert await world.states() == {lost: "open"}
    [finding] = await world.findings()
    assert finding.evidence["expected"] == {"blocks": [paths[0]], "block_count": 1}
    siblings.block(paths[0]).write_bytes(content)
    assert await refresh(world, file_id) == Verdict.CONSISTENT
    assert await world.states() == {lost: "resolved"}


@on_sqlite
async def test_blocks_that_events_name_are_compared_with_the_list(world: World, siblings: Siblings) -> None:
    paths = siblings.put(file_id := uuid4(), b"a", b"b")
    await world.upload(file_id, blocks=[paths[0], "owner|never"], size=77)
    await refresh(world, file_id)
    assert set(await world.states()) == {(file_id, "missing_block"), (file_id, "orphaned_block")}


@on_sqlite
async def test_a_404_is_unknown_unless_the_token_sees_all(open_world: OpenWorld, siblings: Siblings) -> None:
    siblings.put(foreign := uuid4(), b"a", subject="somebody")
    async with open_world() as world:
        await world.upload(foreign, lost := uuid4())
        for file_id in (foreign, lost):
            assert await refresh(world, file_id) == Verdict.UNKNOWN
        check = await world.check(lost)
        assert check.state == CheckState.INCOMPLETE
        assert "CONSISTENCY_TOKEN_SEES_ALL=true" in str(check.reason)
        check = await world.check()
        assert (check.state, check.counts) == (CheckState.INCOMPLETE, {})
        assert str(check.reason).startswith("2 files could not be asked about. The source responds 404, as it does")
        assert await world.findings() == []


@on_sqlite
async def test_a_suspected_file_that_disappears_is_not_asked_for_again(
    open_world: OpenWorld, siblings: Siblings
) -> None:
    paths = siblings.put(file_id := uuid4(), b"a", b"b")
    siblings.block(paths[0]).unlink()
    async with open_world() as world:
        await world.upload(file_id)
        assert await refresh(world, file_id) == Verdict.INCONSISTENT
        siblings.meddle = lambda _method, path: (404, b"") if path.startswith("/files/") else None
        await world.age()
        siblings.asked()
        await world.age(2)
        assert siblings.asked() == [], "only after a grace period"


@on_sqlite
async def test_a_check_that_asks_for_no_deleted_file_says_nothing_of_it(
    open_world: OpenWorld, siblings: Siblings
) -> None:
    siblings.put(file_id := uuid4(), b"a")
    async with open_world() as world:
        await world.upload(file_id, deleted := uuid4())
        await world.delete(deleted)
        assert (await world.check()).state == CheckState.COMPLETE
        for one, verdict in ((file_id, Verdict.CONSISTENT), (deleted, Verdict.UNKNOWN)):
            assert [each.verdict for each in (await world.consistency.files.read(one)).sources] == [verdict]


@on_sqlite
async def test_a_404_counts_only_when_the_list_of_files_works(world: World, siblings: Siblings) -> None:
    await world.upload(file_id := uuid4())
    siblings.meddle = lambda _method, path: (404, b"") if path.startswith("/files") else None
    assert await refresh(world, file_id) == Verdict.UNKNOWN
    siblings.asked()
    siblings.meddle = lambda _method, _path: None
    assert await refresh(world, file_id) == Verdict.INCONSISTENT
    assert siblings.asked() == [f"GET /files/{file_id}", "GET /files?limit=1"]
    assert await world.states() == {(file_id, "missing"): "suspected"}


@on_sqlite
async def test_a_block_store_that_has_moved_loses_no_block(world: World, siblings: Siblings) -> None:
    siblings.put(file_id := uuid4(), b"a", b"b")
    await world.upload(file_id)
    for status in (404, 401, 403, 500, 302):
        siblings.meddle = partial(_fail_blocks, status)
        check = await world.check(file_id)
        assert check.state == CheckState.INCOMPLETE
        assert f"has a block store that responds with status {status}" in str(check.reason)
    assert await world.findings() == []


def _fail_blocks(status: int, _method: str, path: str) -> Reply | None:
    return (status, b"") if path.startswith("/chunks") else None


@pytest.mark.slow
async def test_the_whole_is_asked_for_by_id_and_orphans_come_from_the_list(
    world: World, siblings: Siblings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.consistency.sources.cloud.LIST_ITEMS", 10)
    monkeypatch.setattr("app.consistency.sources.full_check.ASKED_AT_ONCE", 10)
    files = sorted(uuid4() for _ in range(25))
    for file_id in files[:20]:
        siblings.put(file_id)
    siblings.put(foreign := uuid4(), subject="somebody")  # the token sees it by its id, as a stand-in shows
    orphans = [uuid4() for _ in range(8)]
    for file_id in orphans:
        siblings.put(file_id)
    await world.upload(*files, foreign)
    await world.delete(*files[17:20])
    siblings.meddle = lambda _method, path: _seen_by_all(path, foreign)
    check = await world.check(accept_shrink=True)
    assert (check.state, check.reason) == (CheckState.COMPLETE, None)
    assert check.counts == {"missing": 5, "orphaned": 3 + 8}
    assert (check.compared, check.total) == (25 + 1 + 8, None)
    lists = [one for one in siblings.asked() if one.startswith("GET /files?") and "limit=10" in one]
    assert len(lists) == 4
    assert (foreign, "missing") not in await world.states()
    check = await world.check()
    assert (check.state, check.counts) == (CheckState.COMPLETE, {"missing": 5, "orphaned": 11})
    assert len(await world.findings()) == 16


def _seen_by_all(path: str, file_id: UUID) -> tuple[int, bytes] | None:
    if path == f"/files/{file_id}":
        return 200, json.dumps({"file_id": str(file_id)}).encode()
    return (200, b"[]") if path == f"/files/{file_id}/chunks" else None


@on_sqlite
async def test_too_many_absent_files_are_suspect(world: World, siblings: Siblings) -> None:
    siblings.put(here := uuid4())
    await world.upload(here, *(uuid4() for _ in range(11)))
    check = await world.check()
    assert (check.state, await world.findings()) == (CheckState.SUSPECT, [])


@on_sqlite
async def test_another_process_goes_on_in_the_list(
    world: World, siblings: Siblings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.consistency.sources.cloud.LIST_ITEMS", 10)
    for _ in range(12):
        siblings.put(uuid4())
    tasks = world.consistency.tasks

    def die(_method: str, path: str) -> None:
        if "skip=10" in path and not world.clock.ahead.total_seconds() > 401:
            for task in tasks._checks.values():
                task.cancel()

    siblings.meddle = die
    check_id = await world.begin()
    await world.run()
    assert (await world.read_check(check_id)).listed == 10
    world.clock.advance(20)
    await world.run()
    check = await world.read_check(check_id)
    assert (check.state, check.listed, check.counts) == (CheckState.COMPLETE, 12, {"orphaned": 12})


async def test_deep_finds_wrong_blocks_and_shallow_looks_do_not_heal_them(world: World, siblings: Siblings) -> None:
    contents = [b"one", b"two", b"three"]
    paths = siblings.put(file_id := uuid4(), *contents)
    blocks = [expected_block(path, content) for path, content in zip(paths, contents, strict=True)]
    await world.upload(file_id, blocks=blocks)
    siblings.block(paths[0]).write_bytes(b"eno")
    siblings.block(paths[1]).write_bytes(b"longer")
    check = await world.check()
    assert (check.state, check.counts) == (CheckState.COMPLETE, {})
    part = next(number for number in (1, 2) if paths[0] in BlockSubset(number, 2))
    check = await world.check(deep=f"{part}/2")
    sizes = {"wrong_size": 1} if paths[1] in BlockSubset(part, 2) else {}
    assert (check.state, check.counts) == (CheckState.COMPLETE, {"wrong_hash": 1, **sizes})
    check = await world.check(file_id, deep="1/1")
    assert check.counts == {"wrong_hash": 1, "wrong_size": 1}
    await world.check()
    assert set((await world.states()).values()) == {"suspected"}
    await world.age()
    assert await world.states() == {(file_id, "wrong_hash"): "open", (file_id, "wrong_size"): "open"}
    [finding] = await world.findings(kind="wrong_size")
    assert finding.evidence["found"] == {"blocks": [{"id": paths[1], "size": 6}], "block_count": 1}
    siblings.block(paths[0]).write_bytes(b"one")
    siblings.block(paths[1]).write_bytes(b"two")
    await world.check()
    assert set((await world.states()).values()) == {"resolved"}


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


BROKEN: dict[str, tuple[str, bytes]] = {
    "sends a body that is not JSON": ("/files/", b"<html>"),
    "sends a body that is not a JSON object": ("/files/", b"[]"),
    "responds with another file than the one asked for": ("/files/", b'{"file_id": "%s"}' % str(uuid4()).encode()),
    "sends a `file_id` that is not a UUID": ("/files/", b'{"file_id": 7}'),
    "sends a file of more than 1 MiB": ("/files/", b'{"name": "%b"}' % (b"x" * 10_000_000)[:1_100_000]),
    "has a metadata service that cannot be asked: the response is too large": ("/files/", b" " * 10_000_000),
    "sends something else than a list of blocks": ("/chunks", b'{"chunks": []}'),
    "sends a block without a `storage_path`": ("/chunks", b'[{"storage_path": 7}]'),
    "sends a file of more than 10,000 blocks": ("/chunks", b"[%b]" % b",".join([b'{"storage_path": "a"}'] * 10_001)),
    "names a block whose `storage_path` is no path": ("/chunks", b'[{"storage_path": "../files"}]'),
}


@pytest.mark.slow
@on_sqlite
async def test_an_owner_that_sends_anything_else_makes_the_check_incomplete(world: World, siblings: Siblings) -> None:
    siblings.put(file_id := uuid4(), b"a")
    await world.upload(file_id)
    for reason, (where, body) in BROKEN.items():

        def meddle(_method: str, path: str, where: str = where, body: bytes = body) -> tuple[int, bytes] | None:
            is_it = path.endswith("/chunks") if where == "/chunks" else path == f"/files/{file_id}"
            return (200, body) if is_it else None

        siblings.meddle = meddle
        for files in ((), (file_id,)) if where == "/chunks" else ((file_id,),):
            check = await world.check(*files)
            assert (check.state, check.counts) == (CheckState.INCOMPLETE, {})
            assert str(check.reason).endswith(f"The source {reason}."), check.reason
    siblings.meddle = lambda _method, path: (200, list_of(uuid4() for _ in range(1001))) if "?" in path else None
    check = await world.check()
    assert check.reason == "The source sends a page of more than 1,000 files."
    siblings.meddle = lambda _method, path: (
        (200, b'[{"file_id": "%s"}]' % str(file_id).encode()) if "?" in path else None
    )
    check = await world.check()
    assert check.reason == "The source repeats a page of its list of files."
    assert await world.findings() == []


def list_of(file_ids: Iterable[UUID]) -> bytes:
    return json.dumps([{"file_id": str(one)} for one in file_ids]).encode()


@on_sqlite
async def test_a_list_without_an_end_ends_after_a_day(world: World, siblings: Siblings) -> None:
    """Each page has files that nobody has heard of, and hours pass with each."""

    def meddle(_method: str, path: str) -> Reply | None:
        if "skip=" not in path and "limit=100" not in path:
            return None
        world.clock.advance(4 * 3600)
        return 200, list_of([uuid4(), uuid4()])

    siblings.meddle = meddle
    check = await world.check()
    reason = "The source takes longer than a day to be asked for all files."
    assert (check.state, check.reason, check.counts) == (CheckState.INCOMPLETE, reason, {})
    assert check.listed < 2 * 8


@pytest.mark.slow
@on_sqlite
async def test_a_metadata_service_that_hangs_makes_checks_incomplete(
    open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    retries = RetryPolicy(attempts=2, seconds=0.3, turn_seconds=0.1)
    for name in ("check_runner.NAMED", "sources.full_check.BACKGROUND"):
        monkeypatch.setattr(f"app.consistency.{name}", retries)
    async with serving(Owner(before_reply=asyncio.Event().wait)) as owner:
        urls = {"metadata_service_url": owner.url, "block_storage_service_url": owner.url}
        async with open_world(**urls) as world:
            await world.upload(file_id := uuid4())
            for files in ((), (file_id,)):
                check = await world.check(*files)
                assert check.state == CheckState.INCOMPLETE
                assert str(check.reason).endswith("The source did not respond within 0.3 seconds.")
            assert await world.findings() == []
