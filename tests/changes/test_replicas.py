"""What one replica records reaches the streams of another at once."""

import json
import statistics
import time
from collections.abc import Callable

import httpx
import pytest

from tests.changes.support import FILE
from tests.support.process import ServiceProcess
from tests.support.sse import open_stream

EVENTS = 20
MAX_MEDIAN_SECONDS = 0.5


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.load
async def test_an_event_reaches_the_stream_of_another_replica_soon(
    start_replicas: Callable[..., list[ServiceProcess]], outside: httpx.AsyncClient
) -> None:
    writing, reading = start_replicas(2)
    event = {"file_id": str(FILE), "event_type": "upload"}
    seconds: list[float] = []
    async with open_stream(outside, reading.url, cursor="latest") as stream:
        await stream.next()
        for _ in range(EVENTS):
            started = time.monotonic()
            answer = await outside.post(f"{writing.url}/sync-events", json=event)
            change = json.loads((await stream.next_of("change")).data)
            seconds.append(time.monotonic() - started)
            assert change["event_id"] == answer.json()["event_id"]
    print(f"from request to receipt: median {statistics.median(seconds):.3f} s, slowest {max(seconds):.3f} s")
    assert statistics.median(seconds) < MAX_MEDIAN_SECONDS
