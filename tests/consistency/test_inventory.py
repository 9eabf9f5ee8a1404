"""Checks of a whole source, against a real HTTP server, on both databases where they differ."""

import json
from uuid import UUID, uuid4

import pytest

from app.consistency.models import CheckState
from tests.consistency.owner import Reply
from tests.consistency.world import World

SHA = "ab" * 32


def new_files(number: int) -> list[UUID]:
    return sorted(uuid4() for _ in range(number))


async def test_a_thousand_files_that_are_all_well(world: World) -> None:
    files = new_files(1000)
    await world.upload(*files, size=5, sha256=SHA, blocks=["a", {"id": "b", "size": 2}])
    await world.append(*((one, "update", {"name": "new"}) for one in files[:50]))
    await world.sweep()
    await world.upload(gone := uuid4())
    await world.delete(gone)
    world.owner.put(*files, size=5, sha256=SHA.upper(), blocks=[{"id": "b", "size": 2}, {"id": "a"}], position=10**6)
    world.owner.total, world.owner.page_items = 1000, 300
    check = await world.check()
    assert (check.state, check.reason, check.counts) == (CheckState.COMPLETE, None, {})
    assert (check.compared, check.total, check.in_flight, check.position) == (1000, 1000, 0, 1052)
    assert await world.findings() == []
    assert len(world.owner.paths) == 4


async def test_a_lost_file_is_suspected_then_open_then_resolved(world: World) -> None:
    files = new_files(3)
    await world.upload(*files)
    world.owner.put(*files[1:])
    check = await world.check()
    assert (check.state, check.counts, check.compared) == (CheckState.COMPLETE, {"missing": 1}, 3)
    lost = (files[0], "missing")
    assert await world.states() == {lost: "suspected"}
    await world.age(100)
    assert await world.states() == {lost: "suspected"}
    await world.age(250)  # the second check comes by itself
    assert await world.states() == {lost: "open"}
    [finding] = await world.findings(state="open")
    assert finding.evidence == {"expected": {"exists": True}, "found": {"exists": False}}
    assert finding.last_seen_at > finding.first_seen_at
    await world.check()
    assert await world.states() == {lost: "open"}
    world.owner.put(files[0])
    await world.check()
    assert await world.states() == {lost: "resolved"}
    del world.owner.files[files[0]]
    await world.check()
    assert sorted(one.state for one in await world.findings()) == ["resolved", "suspected"]


async def test_a_suspected_file_that_is_back_is_resolved_by_the_second_check(world: World) -> None:
    await world.upload(file_id := uuid4())
    await world.check()
    world.owner.put(file_id)
    await world.age()
    assert await world.states() == {(file_id, "missing"): "resolved"}


async def test_orphans_and_blocks(world: World) -> None:
    deleted, never, blocks = new_files(3)
    await world.upload(deleted)
    await world.delete(deleted)
    await world.upload(blocks, size=2**40, sha256=SHA, blocks=[{"id": "a", "size": 1}, "b"])
    world.owner.put(deleted, never)
    world.owner.put(blocks, size=1, sha256="cd" * 32, blocks=[{"id": "a", "size": 2}, {"id": "c"}])
    check = await world.check()
    assert check.counts == {
        "orphaned": 2,
        "missing_block": 1,
        "orphaned_block": 1,
        "wrong_size": 1,
        "wrong_hash": 1,
    }
    kinds = ("missing_block", "orphaned_block", "wrong_size", "wrong_hash")
    expected = {(deleted, "orphaned"), (never, "orphaned"), *((blocks, kind) for kind in kinds)}
    await world.age()
    assert await world.states() == dict.fromkeys(expected, "open")
    [wrong] = await world.findings(kind="wrong_size")
    assert wrong.evidence == {
        "expected": {"size": 2**40, "blocks": [{"id": "a", "size": 1}], "block_count": 1},
        "found": {"size": 1, "blocks": [{"id": "a", "size": 2}], "block_count": 1},
    }
    world.owner.put(blocks)  # it gives no values any more
    del world.owner.files[deleted], world.owner.files[never]
    await world.check()
    assert await world.states() == dict.fromkeys(expected, "resolved")


async def test_stale_against_an_owner_behind_its_watermark(world: World) -> None:
    stale, in_flight = new_files(2)
    await world.upload(stale, in_flight)
    await world.append((stale, "update", None), (in_flight, "update", None))
    await world.sweep()
    world.owner.put(stale, position=1)
    world.owner.put(in_flight, position=2)
    world.owner.watermark = 3
    check = await world.check()
    assert (check.position, check.in_flight, check.compared) == (3, 1, 1)
    assert await world.states() == {(stale, "stale"): "suspected"}
    [finding] = await world.findings()
    assert finding.evidence == {"expected": {"position": 3}, "found": {"position": 1}}


async def test_events_that_are_not_processed_are_in_flight(world: World) -> None:
    files = new_files(2)
    await world.upload(files[0])
    await world.append((files[0], "delete", None), (files[1], "upload", None))
    world.owner.put(files[1])
    check = await world.check()
    assert (check.state, check.in_flight, check.counts) == (CheckState.COMPLETE, 2, {})


async def test_without_a_watermark_only_old_events_are_compared(world: World) -> None:
    world.owner.watermark = None
    await world.upload(old := uuid4())
    world.clock.advance(301)
    check = await world.check()
    assert (check.counts, check.in_flight) == ({"missing": 1}, 0)
    world.clock.advance(-301)
    check = await world.check()
    assert (check.counts, check.in_flight) == ({}, 1)
    check = await world.check(old)
    assert (check.counts, check.in_flight, check.compared) == ({}, 1, 0)


def cut(path: str, reply: Reply) -> Reply:
    """931 files of all."""
    document = json.loads(reply[1])
    return 200, json.dumps({**document, "items": document["items"][:931], "next": None}).encode()


def unsorted(path: str, reply: Reply) -> Reply:
    document = json.loads(reply[1])
    return 200, json.dumps({**document, "items": document["items"][::-1]}).encode()


def repeated(path: str, reply: Reply) -> Reply:
    document = json.loads(reply[1])
    return 200, json.dumps({**document, "items": [], "next": "00000000-0000-0000-0000-000000000001"}).encode()


def no_uuid(path: str, reply: Reply) -> Reply:
    return 200, json.dumps({"items": [{"file_id": "42"}], "next": None}).encode()


def huge(path: str, reply: Reply) -> Reply:
    return 200, b'{"items": [], "padding": "%b"}' % (b"x" * 9_000_000)


def large_item(path: str, reply: Reply) -> Reply:
    item = {"file_id": str(UUID(int=1)), "padding": "x" * 1_100_000}
    return 200, json.dumps({"items": [item], "next": None}).encode()


def many_blocks(path: str, reply: Reply) -> Reply:
    item = {"file_id": str(UUID(int=1)), "blocks": [{"id": str(one)} for one in range(10_001)]}
    return 200, json.dumps({"items": [item], "next": None}).encode()


BROKEN = {
    "sends an inventory that is not sorted by file_id": unsorted,
    "repeats a page": repeated,
    "sends a `file_id` that is not a UUID": no_uuid,
    "cannot be asked: the response is too large": huge,
    "sends an item of more than 1 MiB": large_item,
    "sends a file of more than 10,000 blocks": many_blocks,
    "responds with status 404": lambda _path, _reply: (404, b""),
    "responds with status 401": lambda _path, _reply: (401, b""),
    "responds with status 302; redirects are not followed": lambda _path, _reply: (302, b""),
    "sends a body that is not JSON": lambda _path, _reply: (200, b"<html>"),
    "sends a body that is not a JSON object": lambda _path, _reply: (200, b"[]"),
    "sends a page without a list of items": lambda _path, _reply: (200, b'{"items": {}}'),
    "sends a `watermark` that is not a whole number": lambda _p, _r: (200, b'{"items": [], "watermark": "7"}'),
}


async def test_a_listing_that_breaks_the_contract_changes_nothing(world: World) -> None:
    files = new_files(20)
    await world.upload(*files)
    world.owner.put(*files[1:])
    await world.check()
    await world.age()
    world.owner.put(files[0])
    before = await world.states()
    assert before == {(files[0], "missing"): "open"}
    honest = world.owner.meddle
    for reason, meddle in BROKEN.items():
        world.owner.meddle = meddle
        check = await world.check()
        assert (check.state, check.reason is not None) == (CheckState.INCOMPLETE, True), reason
        assert str(check.reason).startswith(f"The source {reason}"), check.reason
        assert await world.states() == before
    world.owner.meddle = honest
    await world.check()
    assert await world.states() == {(files[0], "missing"): "resolved"}


async def test_a_cut_listing_is_incomplete_or_suspect(world: World) -> None:
    files = new_files(1000)
    await world.upload(*files)
    world.owner.put(*files)
    world.owner.meddle, world.owner.total = cut, 1000
    check = await world.check()
    assert (check.state, check.reason) == (
        CheckState.INCOMPLETE,
        "The source lists 931 files and says that it holds 1000.",
    )
    world.owner.total = None
    check = await world.check()
    assert (check.state, check.reason) == (
        CheckState.SUSPECT,
        "The source lacks 69 of 1000 files. If that is true, check again with `accept_shrink`.",
    )
    assert await world.findings() == []
    check = await world.check(accept_shrink=True)
    assert (check.state, check.counts) == (CheckState.COMPLETE, {"missing": 69})
    assert len(await world.findings(state="suspected")) == 69


async def test_an_error_in_the_middle_is_asked_again_and_then_makes_the_check_incomplete(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.consistency.sources.request.FIRST_WAIT_SECONDS", 0.001)
    files = new_files(30)
    await world.upload(*files)
    world.owner.put(*files)
    world.owner.page_items = 10
    failures = iter([503, 429, None])

    def sometimes(path: str, reply: Reply) -> Reply | None:
        if "after" not in path:
            return reply
        status = next(failures, 200)
        return None if status is None else (status, reply[1])

    world.owner.meddle = sometimes
    check = await world.check()
    assert (check.state, check.counts, check.compared) == (CheckState.COMPLETE, {}, 30)
    world.owner.paths.clear()
    world.owner.meddle = lambda path, reply: (500, b"") if "after" in path else reply
    check = await world.check()
    assert (check.state, check.reason) == (CheckState.INCOMPLETE, "The source responds with status 500.")
    assert len(world.owner.paths) == 1 + 8


async def test_another_process_goes_on_at_the_cursor_with_exact_counts(world: World) -> None:
    files = new_files(1000)
    await world.upload(*files)
    world.owner.put(*files[5:], *(UUID(int=number + 1) for number in range(7)))
    world.owner.page_items, world.owner.total = 100, 1002
    tasks = world.consistency.tasks
    pages = 0

    def count(path: str, reply: Reply) -> Reply:
        nonlocal pages
        pages += 1
        if pages == 6:  # the process dies before the sixth page comes, while it compares the fifth
            for task in tasks._checks.values():
                task.cancel()
        return reply

    world.owner.meddle = count
    check_id = await world.begin()
    await world.run()
    half = await world.read_check(check_id)
    assert half.state == CheckState.RUNNING
    assert half.listed in {400, 500}
    await world.run()
    assert pages == 6, "the lease of the dead process has not ended"
    world.clock.advance(11)
    await world.run()
    check = await world.read_check(check_id)
    assert (check.state, check.listed, check.compared) == (CheckState.COMPLETE, 1002, 1007)
    assert check.counts == {"missing": 5, "orphaned": 7}
    assert len(await world.findings(kind="missing")) == 5
    assert len(await world.findings(kind="orphaned")) == 7
    assert pages == 11 + 1 + (half.listed == 400), "what the dead process had not compared is asked for again"


async def test_a_cancelled_check_changes_nothing(world: World) -> None:
    await world.upload(*new_files(5))
    check_id = await world.begin()
    await world.cancel(check_id)
    await world.run()
    check = await world.read_check(check_id)
    assert (check.state, check.ended_at is not None) == (CheckState.CANCELLED, True)
    assert await world.findings() == []
