"""`python -m benchmarks.sink PORT`: accepts POSTs as fast as it can, and reports when each came.

A bare protocol on uvloop, so that it never limits the sender. `GET /stats` gives `times`, by the message's
`webhook-id` if it has one; `GET /reset` forgets them; anything else that is a GET gets 200.
"""

import asyncio
import json
import re
import sys
import time
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_ID = re.compile(rb"\r\nwebhook-id: ([^\r]+)\r\n", re.IGNORECASE)
_HEAD_ENDS = b"\r\n\r\n"


class Sink(asyncio.Protocol):
    """One connection. `times` is shared by all of them: (id, seconds of the monotonic clock)."""

    def __init__(self, times: list[tuple[str, float]]) -> None:
        self._times = times
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport that responses are written to."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type

    def data_received(self, data: bytes) -> None:
        """Respond to every complete request."""
        self._buffer += data
        while (end := self._buffer.find(_HEAD_ENDS)) >= 0:
            head = self._buffer[: end + 2]
            length = _LENGTH.search(head)
            size = end + len(_HEAD_ENDS) + (int(length[1]) if length else 0)
            if len(self._buffer) < size:
                return
            self._buffer = self._buffer[size:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        body = b""
        if head.startswith(b"POST"):
            message_id = _ID.search(head)
            self._times.append((message_id[1].decode() if message_id else "", time.monotonic()))
        elif head.startswith(b"GET /stats"):
            body = json.dumps(self._times).encode()
        elif head.startswith(b"GET /reset"):
            self._times.clear()
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def main(port: int) -> None:
    """Serve for ever."""
    times: list[tuple[str, float]] = []
    server = await asyncio.get_running_loop().create_server(lambda: Sink(times), "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
