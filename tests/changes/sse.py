"""Server-sent events read as the HTML standard says (section 9.2.6)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx


@dataclass
class Message:
    """What stands between two empty lines; fields that were not sent are empty."""

    event: str = ""
    data: str = ""
    id: str = ""
    retry: str = ""
    comment: str = ""


class EventStream:
    """One connection."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._messages = self._parse()

    async def _parse(self) -> AsyncIterator[Message]:
        message = Message()
        async for line in self.response.aiter_lines():
            if not line:
                yield message
                message = Message()
                continue
            name, _, value = line.partition(":")
            assert name in {"", "event", "data", "id", "retry"}, line
            setattr(message, name or "comment", value.removeprefix(" "))

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._messages

    async def next(self) -> Message:
        """The next message."""
        return await anext(self._messages)

    async def next_of(self, event: str) -> Message:
        """The next message of this kind."""
        while True:
            message = await self.next()
            if message.event == event:
                return message


@asynccontextmanager
async def open_stream(
    client: httpx.AsyncClient, url: str, *, last_event_id: str | None = None, token: str | None = None, **query: object
) -> AsyncIterator[EventStream]:
    """A stream; nothing comes for 30 seconds at most.

    Raises:
        httpx.HTTPStatusError: when the answer is none.
    """
    headers = {"Last-Event-ID": last_event_id} if last_event_id is not None else {}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    params = httpx.QueryParams(query)  # type: ignore[arg-type]  # as httpx takes it
    async with client.stream("GET", f"{url}/changes/stream", params=params, headers=headers, timeout=30) as response:
        if response.is_error:
            await response.aread()
            response.raise_for_status()
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        yield EventStream(response)
