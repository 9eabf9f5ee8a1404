"""Full checks of the source `cloud`: by id and by list, cut, broken, endless and hanging."""

import asyncio
import json
from collections.abc import Iterable
from uuid import UUID, uuid4

import pytest

from app.consistency.models import CheckState
from app.consistency.sources.request import RequestRetries
from tests.consistency.owner import Owner, serving
from tests.consistency.sources.siblings import Reply, Siblings
from tests.consistency.sources.support import OpenWorld
from tests.consistency.world import World
from tests.support.marks import on_sqlite


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
    retries = RequestRetries(attempts=2, seconds=0.3, permit_seconds=0.1)
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
