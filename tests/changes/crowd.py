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

_CREATED = re.compile(rb'"created_at" ?: ?"([^"]+)Z"')
_EVENT = b"event: change\n"


class Crowd:
    """What all clients together have seen. Each distinct piece of the stream is parsed once."""

    def __init__(self, clients: int, changes: int) -> None:
        self._clients = clients
        self._changes = changes
        self._begun = 0
        self._known: dict[bytes, list[float]] = {}
        self.late: list[float] = []
        self.ready = asyncio.Event()

    async def follow(self, port: int, token: str) -> int:
        """Read until so many changes have come; how many did."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        head = f"GET /changes/stream?cursor=latest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        writer.write(head.encode())
        assert b" 200 " in await reader.readline()
        while await reader.readline() != b"\r\n":
            pass
        self._begun += 1
        if self._begun == self._clients:
            self.ready.set()
        seen = 0
        while seen < self._changes:
            size = int(await reader.readline(), 16)
            seen += self._note((await reader.readexactly(size + 2))[:-2])
        writer.transport.abort()
        return seen

    def _note(self, piece: bytes) -> int:
        now = time.time()
        times = self._known.get(piece)
        if times is None:
            times = [
                datetime.fromisoformat(text.decode()).replace(tzinfo=UTC).timestamp()
                for text in _CREATED.findall(piece)
            ]
            assert len(times) == piece.count(_EVENT)
            self._known[piece] = times
        self.late += [(now - created) * 1000 for created in times]
        return len(times)


async def main(port: int, clients: int, changes: int) -> None:
    """Follow with all clients."""
    crowd, token = Crowd(clients, changes), os.environ["TOKEN"]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(crowd.follow(port, token)) for _ in range(clients)]
        await crowd.ready.wait()
        print("ready", flush=True)
    late = sorted(crowd.late)
    report = {
        "changes": sum(task.result() for task in tasks),
        "p50_ms": round(late[len(late) // 2]),
        "p99_ms": round(late[len(late) * 99 // 100]),
        "max_ms": round(late[-1]),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(*(int(argument) for argument in sys.argv[1:])))
