"""Many clients of one stream in a process of their own, as light as can be: `python -m tests.changes.crowd`.

Arguments: port, number of clients, number of changes that each waits for. The token comes from `TOKEN`. Prints `ready`
once every stream has begun, and at the end one JSON object: `late` are milliseconds from the commit, as `created_at`
tells, until the receipt, for every change of every client.
"""

import asyncio
import json
import os
import re
import sys
import time
from datetime import UTC, datetime

_CREATED = re.compile(rb'^data: .*?"created_at" ?: ?"([^"]+)Z"', re.MULTILINE)
_END = b"\n\n"


class Crowd:
    """What all clients together have seen. A piece of the stream that many of them get is parsed once."""

    def __init__(self, clients: int, changes: int) -> None:
        self._clients = clients
        self.changes = changes
        self.late: list[float] = []
        self.ready = asyncio.Event()
        self._begun = 0
        self._known: dict[bytes, list[float]] = {}

    def begin(self) -> None:
        """A client's stream has begun."""
        self._begun += 1
        if self._begun == self._clients:
            self.ready.set()

    def note(self, messages: bytes) -> int:
        """Note when the changes in `messages` have come; returns their number."""
        now = time.time()
        times = self._known.get(messages)
        if times is None:
            times = [
                datetime.fromisoformat(text.decode()).replace(tzinfo=UTC).timestamp()
                for text in _CREATED.findall(messages)
            ]
            self._known[messages] = times
        self.late += [(now - created) * 1000 for created in times]
        return len(times)


class Client(asyncio.Protocol):
    """One stream; the lines of the chunked coding between messages do not matter here."""

    def __init__(self, crowd: Crowd, request: bytes) -> None:
        self._crowd = crowd
        self._request = request
        self._rest = b""
        self.seen = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count the messages that are complete."""
        whole, end, rest = (self._rest + data).rpartition(_END)
        if not self.seen and not self._rest:
            assert data.startswith(b"HTTP/1.1 200 "), data
            self._crowd.begin()
        self._rest = rest or b"\n"
        if end:
            self.seen += self._crowd.note(whole)
        if self.seen >= self._crowd.changes:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The end."""
        if not self.done.done():
            self.done.set_result(None)


async def main(port: int, clients: int, changes: int) -> None:
    """Follow with all clients."""
    crowd, loop = Crowd(clients, changes), asyncio.get_running_loop()
    head = (
        f"GET /changes/stream?cursor=latest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {os.environ['TOKEN']}\r\n\r\n"
    )
    pairs = [
        await loop.create_connection(lambda: Client(crowd, head.encode()), "127.0.0.1", port) for _ in range(clients)
    ]
    await crowd.ready.wait()
    print("ready", flush=True)
    await asyncio.gather(*(client.done for _transport, client in pairs))
    late = sorted(crowd.late)
    report = {
        "changes": sum(client.seen for _transport, client in pairs),
        "p50_ms": round(late[len(late) // 2]),
        "p99_ms": round(late[len(late) * 99 // 100]),
        "max_ms": round(late[-1]),
        "cpu_s": round(time.process_time(), 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(*(int(argument) for argument in sys.argv[1:])))
