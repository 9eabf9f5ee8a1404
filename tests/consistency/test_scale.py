"""Owners that follow behind, many files, and a process that is killed."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import httpx
import pytest

from app.consistency.models import CheckState
from tests.consistency.filling import fill
from tests.consistency.owner import Owner, Reply
from tests.consistency.world import World
from tests.support.process import ServiceProcess
from tests.support.receiver import KEY
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

FILES = 100_000
MEBIBYTE = 2**20


async def test_an_owner_that_follows_behind_is_never_wrong(world: World) -> None:
    random = Random(7)  # noqa: S311 - the same in every run
    applied: list[tuple[UUID, str]] = []
    recorded: list[tuple[UUID, str]] = []
    files = [uuid4() for _ in range(40)]
    for _ in range(5):
        events = [(random.choice(files), random.choice(["upload", "update", "delete"])) for _ in range(120)]
        recorded += events
        await world.append(*((*event, None) for event in events))
        await world.sweep()
        late = len(recorded) - random.randrange(1, 100)
        for position, (file_id, event_type) in enumerate(recorded[len(applied) : late], len(applied) + 1):
            if event_type == "delete":
                world.owner.files.pop(file_id, None)
            else:
                world.owner.put(file_id, position=position)
        applied, world.owner.watermark = recorded[:late], late
        check = await world.check()
        assert (check.state, check.position, check.counts) == (CheckState.COMPLETE, late, {})
        await world.age()
    assert await world.findings() == []


class Numbered(Owner):
    """It holds the files 1 to `FILES`, and makes its pages as they are asked for."""

    def respond(self, path: str) -> Reply:
        after = UUID(path.partition("after=")[2].partition("&")[0]).int if "after=" in path else 0
        last = min(after + 1000, FILES)
        ids = {number: f'"00000000-0000-0000-0000-{number:012x}"' for number in range(after + 1, last + 1)}
        items = ",".join([f'{{"file_id": {one}, "size": {number}}}' for number, one in ids.items()])
        following = ids[last] if last < FILES else "null"
        return 200, f'{{"items": [{items}], "next": {following}, "total": {FILES}}}'.encode()


def resident_peak_bytes(*, reset: bool = False) -> int:
    """The most memory that this process had; with `reset`, what it has now, from where the peak is counted again."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    [kibibytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kibibytes) * 1024


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_memory_does_not_grow_with_the_files(world: World) -> None:
    await fill(world.database, FILES)
    world.owner.respond = Numbered().respond  # type: ignore[method-assign]
    before = resident_peak_bytes(reset=True)
    check = await world.check()
    assert (check.state, check.compared, check.counts) == (CheckState.COMPLETE, FILES, {})
    assert resident_peak_bytes() - before < 32 * MEBIBYTE


@pytest.mark.slow
async def test_931_of_200637(world: World) -> None:
    """A listing that ends early, with status 200, is believed neither with a total nor without."""
    files = 200_637 if "SYNC_TEST_CHAOS_SECONDS" in os.environ else 2_637
    await fill(world.database, files, with_events=False)
    world.owner.put(*(UUID(int=number) for number in range(1, 932)))
    world.owner.total = files
    check = await world.check()
    reason = f"The source lists 931 files and says that it holds {files}."
    assert (check.state, check.reason, check.compared) == (CheckState.INCOMPLETE, reason, 0)
    world.owner.total = None
    check = await world.check()
    reason = f"The source lacks {files - 931} of {files} files. If that is true, check again with `accept_shrink`."
    assert (check.state, check.reason) == (CheckState.SUSPECT, reason)
    assert await world.findings() == []


@pytest.mark.slow
async def test_a_check_outlives_the_process_that_runs_it(
    start_service: Callable[..., ServiceProcess], tokens: TokenFactory, owner: Owner
) -> None:
    owner.put(*(uuid4() for _ in range(400)))
    owner.page_items, owner.total = 20, 400
    settings = {
        "WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true",
        "WEBHOOK_PORTS": "0",
        "WEBHOOK_ENCRYPTION_KEYS": KEY,
        "WEBHOOK_LEASE": "1",
        "CONSISTENCY_FILES_PER_SECOND": "400",
    }
    headers = {"Authorization": f"Bearer {tokens.token(scope='admin:sync read:sync')}"}
    first = start_service(**settings)
    async with httpx.AsyncClient(base_url=first.url, headers=headers) as client:
        source = await client.post("/consistency/sources", json={"name": "a", "kind": "contract", "url": owner.url})
        check = await client.post("/consistency/checks", json={"source": source.json()["id"], "scope": {"all": True}})
        path = check.url.join(check.headers["Location"]).path
        await until(lambda: len(owner.paths) > 5)
    first.kill()
    asked = len(owner.paths)
    second = start_service(**settings)
    async with httpx.AsyncClient(base_url=second.url, headers=headers) as client:

        async def is_complete() -> bool:
            return bool((await client.get(path)).json()["state"] == "complete")

        await until(is_complete)
        body = (await client.get(path)).json()
        assert (body["compared"], body["of"], body["counts"]) == (400, 400, {"orphaned": 400})
        assert len((await client.get("/consistency/findings?limit=1000")).json()) == 400
    assert "after=" in owner.paths[asked], "it went on at the cursor"
    # Twice: the page that was being compared, and the next one, which was asked for meanwhile.
    assert sum("limit=1000" in path for path in owner.paths) <= 22
