"""Files of the source `cloud` and their blocks, over HTTP, on both databases where they differ."""

from functools import partial
from uuid import uuid4

from app.consistency.models import CheckState, Verdict
from app.consistency.sources.request import BlockSubset
from tests.consistency.sources.siblings import Reply, Siblings, expected_block
from tests.consistency.sources.support import OpenWorld, refresh
from tests.consistency.world import World
from tests.support.marks import on_sqlite


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


async def test_deep_finds_wrong_blocks_and_shallow_file_checks_do_not_heal_them(
    world: World, siblings: Siblings
) -> None:
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
