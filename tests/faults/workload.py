"""Honest users while faults happen: they post, read, follow and receive, and nothing may be lost or come twice."""

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx

from tests.changes.follower import Follower
from tests.support.receiver import Received, Receiver, Reply, answer
from tests.support.tokens import TokenFactory
from tests.support.waiting import until

PAUSE_SECONDS = 0.1
PADDING = " " * 40_000  # makes a large body of a batch
PATIENCE_SECONDS = 60  # within which everything goes on after a fault
TOKEN_SECONDS = 10 * 365 * 86_400  # valid whatever the replicas' clocks say
REFUSALS = {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS}


class Workload:
    """Writers that repeat each event with its key until it has a 201, readers of what was acknowledged, followers.

    `broken` collects promises that were seen broken; `refused` counts the requests without success, but
    for probes, by method, path and status.
    """

    def __init__(self, choose: Callable[[], str], tokens: TokenFactory, *, writers: int = 4) -> None:
        self._choose = choose
        self._tokens = tokens
        self._ended = asyncio.Event()
        self._is_written = False  # the last event is acknowledged
        hooks = {"response": [self._count]}
        self._client = httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=20, event_hooks=hooks)
        self._client.headers["Authorization"] = self._authorization("operator", scope="admin:sync")
        self.acknowledged: dict[str, list[str]] = {f"writer-{number}": [] for number in range(writers)}
        self.refused: Counter[str] = Counter()
        self.broken: list[str] = []
        self.followers = [Follower(self._client, choose) for _ in range(4)]
        self.receiver = Receiver(_fails_sometimes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The users are at work while the block runs; after it each writer waits for its last 201."""
        async with self._client, asyncio.TaskGroup() as group:
            response = await self._client.post(f"{self._choose()}/subscriptions", json={"url": self.receiver.url})
            assert response.status_code == httpx.codes.CREATED, response.text
            writing = [group.create_task(self._write(name)) for name in self.acknowledged]
            others = [group.create_task(task) for task in (self._read(), self._probe())]
            for number, follower in enumerate(self.followers):
                done = self._is_followed(follower)
                follow = follower.follow_stream(done) if number % 2 else follower.follow_pages(done, wait=number)
                others.append(group.create_task(follow))
            yield
            self._ended.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*writing)
            self._is_written = True
            await self._check()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*others)
            self._check_followers()

    @property
    def count(self) -> int:
        """How many events were acknowledged."""
        return sum(len(ids) for ids in self.acknowledged.values())

    async def until_all_go_on(self) -> None:
        """Return once each writer has had a further 201."""
        before = {name: len(ids) for name, ids in self.acknowledged.items()}
        await until(lambda: all(len(ids) > before[name] for name, ids in self.acknowledged.items()), PATIENCE_SECONDS)

    def _authorization(self, subject: str, **claims: Any) -> str:
        token = self._tokens.token(sub=subject, exp=time.time() + TOKEN_SECONDS, **claims)
        return f"Bearer {token}"

    async def _write(self, name: str) -> None:
        authorization = self._authorization(name)
        files = [str(uuid4()) for _ in range(3)]
        while not self._ended.is_set():
            event = {"file_id": random.choice(files), "event_type": "update"}  # noqa: S311 - no secret
            headers = {"Authorization": authorization, "Content-Type": "application/json"}
            path, body = "", json.dumps(event)
            if random.random() < 0.2:  # noqa: S311
                batch = {"events": [{**event, "idempotency_key": str(uuid4())}]}
                path, body = "/batch", json.dumps(batch) + PADDING
            else:
                headers["Idempotency-Key"] = str(uuid4())
            self.acknowledged[name].append(await self._post_until_acknowledged(path, body, headers))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _post_until_acknowledged(self, path: str, body: str, headers: dict[str, str]) -> str:
        while True:
            try:
                url = f"{self._choose()}/sync-events{path}"
                response = await self._client.post(url, content=body, headers=headers)
            except httpx.TransportError:
                self.refused["POST: connection lost"] += 1
            else:
                if response.status_code == httpx.codes.CREATED:
                    created = response.json()
                    event_id: str = created["event_ids"][0] if path else created["event_id"]
                    return event_id
                self._expect_refusal(response)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self) -> None:
        while not self._ended.is_set():
            await asyncio.sleep(PAUSE_SECONDS)
            known = random.choice(list(self.acknowledged.values()))  # noqa: S311
            if not known:
                continue
            event_id = random.choice(known)  # noqa: S311
            try:
                response = await self._client.get(f"{self._choose()}/sync-events/{event_id}")
                listed = await self._client.get(f"{self._choose()}/sync-events", params={"limit": 100})
            except httpx.TransportError:
                continue
            if response.status_code != httpx.codes.OK:
                self._expect_refusal(response)
            elif response.json()["event_id"] != event_id:
                self.broken.append(f"GET of {event_id}: {response.text}")
            if listed.status_code != httpx.codes.OK:
                self._expect_refusal(listed)
            elif not listed.json():
                self.broken.append("an empty list")

    async def _probe(self) -> None:
        allowed = {"/health/live": {200}, "/health": {200, 503}, "/health/ready": {200, 503}}
        while not self._ended.is_set():
            for path, statuses in allowed.items():
                await asyncio.sleep(PAUSE_SECONDS)
                try:
                    response = await self._client.get(f"{self._choose()}{path}")
                except httpx.TransportError:
                    continue
                if response.status_code not in statuses:
                    self.broken.append(f"{path}: {response.status_code} {response.text}")

    async def _count(self, response: httpx.Response) -> None:
        [_, first, *_] = response.request.url.path.split("/")
        if first != "health" and not response.is_success:
            self.refused[f"{response.request.method} /{first} {response.status_code}"] += 1

    def _expect_refusal(self, response: httpx.Response) -> None:
        if response.status_code not in REFUSALS or int(response.headers.get("Retry-After", 0)) < 1:
            self.broken.append(f"{response.request.method} {response.url}: {response.status_code} {response.text}")

    def _is_followed(self, follower: Follower) -> Callable[[], bool]:
        return lambda: self._is_written and len(follower.positions) >= self.count

    async def _check(self) -> None:
        """Each acknowledged event is in the ledger once, in its writer's order, processed and delivered.

        Nothing else is there: an event whose response was lost is the one that its repetition got.
        """
        assert not self.broken
        changes = await self._changes()
        assert [change["position"] for change in changes] == list(range(1, len(changes) + 1))
        position_of = {change["event_id"]: change["position"] for change in changes}
        ids = [event_id for ids in self.acknowledged.values() for event_id in ids]
        assert Counter(ids) == Counter(change["event_id"] for change in changes)
        for ids in self.acknowledged.values():
            positions = [position_of[event_id] for event_id in ids]
            assert positions == sorted(positions)
        await until(self._is_all_processed, PATIENCE_SECONDS)
        await until(lambda: set(self.receiver.positions) == set(position_of.values()), PATIENCE_SECONDS)
        self._check_deliveries()

    async def _changes(self) -> list[dict[str, Any]]:
        changes: list[dict[str, Any]] = []
        query: dict[str, Any] = {"limit": 1000}
        while True:
            page = (await self._client.get(f"{self._choose()}/changes", params=query)).raise_for_status().json()
            changes += page["changes"]
            query["cursor"] = page["cursor"]
            if not page["has_more"]:
                return changes

    async def _is_all_processed(self) -> bool:
        response = await self._client.get(f"{self._choose()}/sync-events", params={"processed": False, "limit": 1})
        return response.status_code == httpx.codes.OK and response.json() == []

    def _check_deliveries(self) -> None:
        last: defaultdict[str, int] = defaultdict(int)
        seen: set[int] = set()
        for request in self.receiver.received:
            if request.position not in seen:  # else it came again, as it may
                seen.add(request.position)
                assert request.position > last[request.file_id], "out of order within a file"
                last[request.file_id] = request.position

    def _check_followers(self) -> None:
        for follower in self.followers:
            assert follower.positions == list(range(1, self.count + 1))


def _fails_sometimes(_request: Received) -> Reply:
    return answer(500) if random.random() < 0.05 else answer()  # noqa: S311 - no secret
