"""Followers that lose their connections and go on from their cursor, through any replica."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import httpx

from tests.changes.sse import open_stream

PAUSE_SECONDS = 0.1
REFUSALS = {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS}  # of which each says to try again

Choose = Callable[[], str]  # the URL of some replica


class Follower:
    """Keeps every change it was given, in `positions`, and a cursor."""

    def __init__(self, client: httpx.AsyncClient, choose: Choose) -> None:
        self._client = client
        self._choose = choose
        self.cursor: str | None = None
        self.positions: list[int] = []
        self.connections = 0

    def take(self, changes: Sequence[dict[str, Any]], cursor: str) -> None:
        """Handle changes, and remember the cursor with their effect."""
        self.positions += [change["position"] for change in changes]
        self.cursor = cursor

    async def _again(self, go_on: Callable[[], Awaitable[None]], until: Callable[[], bool]) -> None:
        while not until():
            self.connections += 1
            with suppress(httpx.TransportError):  # that replica is not there
                try:
                    await go_on()
                except httpx.HTTPStatusError as error:
                    if error.response.status_code not in REFUSALS:
                        raise
                    await asyncio.sleep(PAUSE_SECONDS)

    async def follow_pages(self, until: Callable[[], bool], *, wait: int) -> None:
        """Ask for page after page, each of another replica; with `wait` by long poll."""

        async def go_on() -> None:
            query: dict[str, Any] = {"limit": random.randint(1, 200), "wait": wait}  # noqa: S311 - no secret
            query |= {"cursor": self.cursor} if self.cursor else {}
            response = (await self._client.get(f"{self._choose()}/changes", params=query)).raise_for_status()
            page = response.json()
            positions = [change["position"] for change in page["changes"]]
            assert positions == list(range(page["from_position"], page["to_position"] + 1))
            self.take(page["changes"], page["cursor"])
            if not (wait or page["has_more"]):
                await asyncio.sleep(PAUSE_SECONDS)

        await self._again(go_on, until)

    async def follow_stream(self, until: Callable[[], bool]) -> None:
        """Read streams, and leave each after some changes for one of another replica."""

        async def go_on() -> None:
            patience = random.randint(20, 400)  # noqa: S311
            async with open_stream(self._client, self._choose(), last_event_id=self.cursor) as stream:
                async for message in stream:
                    if message.event == "change":
                        self.take([json.loads(message.data)], message.id)
                        patience -= 1
                    if patience < 0 or until():
                        return

        await self._again(go_on, until)
