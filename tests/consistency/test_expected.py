"""What is expected of a file by its events, on both databases."""

from typing import Any
from uuid import uuid4

from app.consistency.comparison import Block, Expected, Facts
from app.consistency.expected_repository import AsOf, ExpectedRepository
from tests.consistency.world import World

SHA, OTHER_SHA = "ab" * 32, "cd" * 32
EVERYTHING = Facts(size=0, sha256=OTHER_SHA, blocks={})  # what the source gives
Event = tuple[str, dict[str, Any] | None]


async def expect(world: World, *events: Event, found: Facts = EVERYTHING, later: int = 0) -> Expected:
    """The expected state of a new file with these events, as of `later` events before the last one."""
    file_id = uuid4()
    await world.append(*((file_id, *one) for one in events))
    await world.sweep()
    async with world.database.read() as session:
        ledger = ExpectedRepository(session)
        as_of = AsOf(await ledger.get_position(None) - later, None)
        return (await ledger.read(as_of, [file_id], {file_id: found}))[file_id]


async def test_each_value_comes_from_the_newest_event_that_carries_it(world: World) -> None:
    events: list[Event] = [
        ("upload", {"size": 1, "sha256": SHA.upper(), "blocks": ["a"]}),
        ("update", {"size": 2, "sha256": "no hash", "name": "a"}),
        ("update", {"sha256": SHA, "blocks": ["b", {"id": "c", "size": 3}]}),
        ("update", {"size": 4}),
        ("update", {"name": "b"}),
    ]
    blocks = {"b": Block(), "c": Block(3)}
    assert (await expect(world, *events)).facts == Facts(size=4, sha256=SHA, blocks=blocks)
    assert (await expect(world, *events[:2])).facts == Facts(size=2, blocks={"a": Block()})
    assert (await expect(world, *events, found=Facts(sha256=OTHER_SHA))).facts == Facts(sha256=SHA)
    assert (await expect(world, *events, later=1)).in_flight


async def test_nothing_from_before_the_last_delete_is_expected(world: World) -> None:
    before: list[Event] = [("upload", {"size": 1, "blocks": ["a"]}), ("delete", {"size": 5})]
    assert (await expect(world, *before, ("upload", {"sha256": SHA}))).facts == Facts(sha256=SHA)
    assert (await expect(world, *before, ("upload", None), ("update", None))).facts == Facts()
    assert await expect(world, *before) == Expected(exists=False, position=await world_position(world))


async def world_position(world: World) -> int:
    async with world.database.read() as session:
        return await ExpectedRepository(session).get_position(None)


async def test_a_size_of_another_type_is_not_compared(world: World) -> None:
    sizes: list[Any] = ["5", 5.0, True, None, -1, [5], 2**63]
    for size in sizes:
        for last in ([], [("update", None)]):
            expected = await expect(world, ("upload", {"size": 7}), ("update", {"size": size}), *last)
            assert expected.facts.size is None, size


async def test_a_source_must_have_applied_the_last_event(world: World) -> None:
    last = await world_position(world) + 2
    behind = await expect(world, ("upload", None), ("update", None), found=Facts(position=last - 1))
    assert (behind.position, behind.required) == (last, last)
