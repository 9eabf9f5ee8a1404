"""Replicas are killed while they check, against an owner that fails a third of the time: every finding is right."""

import asyncio
import json
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select

from app.consistency.models import Finding
from app.database.engine import Database
from app.events.models import SweepCursor
from tests.consistency.filling import fill
from tests.consistency.owner import Owner, Reply, serving
from tests.events.support import add_events
from tests.support.chaos import chaos_seconds, is_long
from tests.support.marks import on_postgresql
from tests.support.process import ServiceProcess
from tests.support.receiver import KEY
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

SECONDS = chaos_seconds(0)
AT_FULL_SIZE = is_long()
FILES = 200_000 if AT_FULL_SIZE else 2_000
REPLICAS, MIN_KILLS, PAUSE_SECONDS = (3, 2, 3) if AT_FULL_SIZE else (2, 1, 1)
LOST, ORPHANS, WRONG = FILES // 1000, FILES // 2000, len(range(500, FILES + 1, 4000))
ENVIRONMENT = {
    "WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true",
    "WEBHOOK_PORTS": "0",
    "WEBHOOK_ENCRYPTION_KEYS": KEY,
    "WEBHOOK_LEASE": "3",
    "SYNC_EVENT_PROCESS_INTERVAL": "0.1",
    "CONSISTENCY_FILES_PER_SECOND": "0",
    "CONSISTENCY_TIMEOUT": "2",
}

pytestmark = [pytest.mark.long, pytest.mark.timeout(SECONDS + 900)]


class FrailOwner(Owner):
    """It holds the files 1, 2, 3, … in order of their ids, and fails a third of the time.

    While `is_down` it sends no second page of its listing.
    """

    def __init__(self) -> None:
        super().__init__(watermark=FILES)
        lost = set(range(1000, FILES + 1, 1000))
        self.sizes = {UUID(int=n): n for n in range(1, FILES + ORPHANS + 1) if n not in lost}
        self.sizes |= {UUID(int=n): 0 for n in range(500, FILES + 1, 4000)}
        self.ids = sorted(self.sizes)
        self.random = Random(5)  # noqa: S311 - the same in every run
        self.meddle = self._fail
        self.is_down = True

    def add(self, file_id: UUID, size: int) -> None:
        self.sizes[file_id] = size
        insort(self.ids, file_id)

    def respond(self, path: str) -> Reply:
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        watermark = {"watermark": self.watermark}
        if parts.path != "/inventory":
            file_id = UUID(parts.path.removeprefix("/inventory/"))
            item = {"file_id": str(file_id), "size": self.sizes.get(file_id), **watermark}
            return (200, json.dumps(item).encode()) if file_id in self.sizes else (404, b"{}")
        start = bisect_right(self.ids, UUID(query["after"][0])) if "after" in query else 0
        listed = self.ids[start : start + int(query["limit"][0])]
        following = str(listed[-1]) if start + len(listed) < len(self.ids) else None
        items = [{"file_id": str(one), "size": self.sizes[one]} for one in listed]
        return 200, json.dumps({"items": items, "next": following, **watermark}).encode()

    def _fail(self, path: str, reply: Reply) -> Reply | None:
        if self.is_down and "after=" in path and path.endswith("limit=1000"):
            return 403, b""  # which ends the check; a 503 would be asked again for longer than a replica lives
        return reply if self.random.random() < 2 / 3 else self.random.choice([None, (500, b""), (429, b"")])


class Scene:
    """Replicas, of which one may just have been killed, and what goes on meanwhile."""

    def __init__(self, replicas: list[ServiceProcess], headers: dict[str, str]) -> None:
        self.replicas = replicas
        self.headers = headers
        self.kills = 0
        self.broken: list[UUID] = []
        self.incomplete = 0

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The response of the first replica that gives one."""
        while True:
            for replica in list(self.replicas):
                try:
                    async with httpx.AsyncClient(base_url=replica.url, headers=self.headers) as client:
                        response = await client.request(method, path, json=body)
                except httpx.TransportError:
                    continue
                if response.is_success:
                    return response.json()
                assert response.status_code in {409, 503}, response.text
            await asyncio.sleep(0.2)

    async def write(self, database: Database, owner: FrailOwner, ended: asyncio.Event) -> None:
        """Upload files, of which every tenth never reaches the owner."""
        position = FILES
        while not ended.is_set():
            files = [uuid4() for _ in range(10)]
            await add_events(database, *((one, "upload") for one in files))
            await asyncio.sleep(0.3)
            for one in files[1:]:
                owner.add(one, 1)
            self.broken.append(files[0])
            position += len(files)
            owner.watermark = position

    async def kill(self, start: Callable[[], ServiceProcess], ended: asyncio.Event) -> None:
        """Kill a replica every few seconds, and replace it."""
        while not ended.is_set():
            await asyncio.sleep(PAUSE_SECONDS)
            place = self.kills % len(self.replicas)
            self.replicas[place].kill()
            self.kills += 1
            self.replicas[place] = await asyncio.to_thread(start)

    async def check(self, source: str, owner: FrailOwner) -> dict[str, Any]:
        """A complete check of the source; after an incomplete one the owner is up again, and another is started."""
        while True:
            check = await self.ask("POST", "/consistency/checks", {"source": source, "scope": {"all": True}})
            while check["state"] == "running":
                await asyncio.sleep(0.2)
                check = await self.ask("GET", f"/consistency/checks/{check['id']}")
            assert check["state"] in {"complete", "incomplete"}, check
            if check["state"] == "complete":
                return dict(check)
            self.incomplete += 1
            owner.is_down = False


@on_postgresql
async def test_kills_and_a_frail_owner_make_no_false_finding_and_hide_none(
    start_replicas: Callable[..., list[ServiceProcess]],
    start_service: Callable[..., ServiceProcess],
    database: Database,
    tokens: TokenFactory,
) -> None:
    await fill(database, FILES)
    headers = {"Authorization": f"Bearer {tokens.token(scope='admin:sync read:sync')}"}
    scene = Scene(await asyncio.to_thread(start_replicas, REPLICAS, **ENVIRONMENT), headers)
    async with serving(FrailOwner()) as owner:
        assert isinstance(owner, FrailOwner)
        new = {"name": "frail", "kind": "contract", "url": owner.url, "grace_seconds": 1}
        source = (await scene.ask("POST", "/consistency/sources", new))["id"]
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        ends_at = loop.time() + SECONDS
        async with asyncio.TaskGroup() as group:
            group.create_task(scene.write(database, owner, ended))
            group.create_task(scene.kill(lambda: start_service(**ENVIRONMENT), ended))
            checks = 0
            while loop.time() < ends_at or scene.kills < MIN_KILLS:
                check = await scene.check(source, owner)
                checks += 1
                assert check["counts"]["orphaned"] == ORPHANS
                assert check["counts"]["wrong_size"] == WRONG
                assert LOST <= check["counts"]["missing"] <= LOST + len(scene.broken)
            ended.set()
        expected = Counter({"missing": LOST + len(scene.broken), "orphaned": ORPHANS, "wrong_size": WRONG})

        async def all_are_open() -> bool:
            async with database.read() as session:
                states = Counter(await session.scalars(select(Finding.state)))
            await asyncio.sleep(0.2)
            return states == {"open": expected.total()}

        async def all_are_processed() -> bool:
            async with database.read() as session:
                return bool(await session.scalar(select(SweepCursor.position)) == owner.watermark)

        await until(all_are_processed, 60)
        check = await scene.check(source, owner)
        assert scene.incomplete
        assert check["counts"] == expected
        assert check["compared"] == FILES + ORPHANS + 10 * len(scene.broken)
        await until(all_are_open, 300)
        await assert_right(database, scene, expected)
        print(f"{FILES} files, {checks} checks, {scene.incomplete} incomplete, {scene.kills} kills: {dict(expected)}")


async def assert_right(database: Database, scene: Scene, expected: Counter[str]) -> None:
    """Each difference has one finding, and nothing else ever had one."""
    async with database.read() as session:
        rows = [(kind, file_id) for kind, file_id in await session.execute(select(Finding.kind, Finding.file_id))]
    assert Counter(kind for kind, _ in rows) == expected
    lost = {UUID(int=n) for n in range(1000, FILES + 1, 1000)}
    assert {file_id for kind, file_id in rows if kind == "missing"} == lost | set(scene.broken)
    orphans = {UUID(int=n) for n in range(FILES + 1, FILES + ORPHANS + 1)}
    assert {file_id for kind, file_id in rows if kind == "orphaned"} == orphans
    wrong = {UUID(int=n) for n in range(500, FILES + 1, 4000)}
    assert {file_id for kind, file_id in rows if kind == "wrong_size"} == wrong
