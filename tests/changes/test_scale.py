"""How soon followers get an event: a crowd on one worker, in bounded memory, and a second replica.

`SYNC_TEST_STREAMS=1000` is the full size; the suite's own is smaller, for machines that are busy.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.changes.sse import open_stream
from tests.changes.support import FILE
from tests.conftest import ROOT
from tests.support.marks import on_postgresql
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory

STREAMS = int(os.environ.get("SYNC_TEST_STREAMS", "100"))
EVENTS_PER_SECOND = 100
SECONDS = 4
MAX_MEMORY_BYTES = 256 * 2**20
REPLICA_EVENTS = 10
MAX_MEDIAN_SECONDS = 0.5


async def post_evenly(client: httpx.AsyncClient, url: str) -> None:
    """Post ten batches in a second."""
    started, size = time.monotonic(), EVENTS_PER_SECOND // 10
    for number in range(10 * SECONDS):
        await asyncio.sleep(max(0.0, started + number / 10 - time.monotonic()))
        events = [
            {"file_id": str(uuid4()), "event_type": "upload", "metadata": {"path": f"{number}.txt"}}
            for _ in range(size)
        ]
        assert (await client.post(f"{url}/sync-events/batch", json={"events": events})).status_code == 201


async def ask_for_health(client: httpx.AsyncClient, url: str, until: asyncio.Event) -> list[float]:
    """The duration of each response in seconds."""
    seconds: list[float] = []
    while not until.is_set():
        started = time.monotonic()
        assert (await client.get(f"{url}/health")).status_code == 200
        seconds.append(time.monotonic() - started)
        await asyncio.sleep(0.2)
    return seconds


def read_peak_bytes(pid: int) -> int:
    """The most memory that a process has ever held."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


@on_postgresql
@pytest.mark.load
async def test_a_crowd_gets_everything_soon(
    start_service: Callable[..., ServiceProcess], outside: httpx.AsyncClient, tokens: TokenFactory
) -> None:
    service = start_service()
    arguments = [str(number) for number in (service.port, STREAMS, EVENTS_PER_SECOND * SECONDS)]
    crowd = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.changes.crowd", *arguments),
        env={**os.environ, "TOKEN": tokens.token()},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert crowd.stdout is not None
    try:
        assert await crowd.stdout.readline() == b"ready\n"
        done = asyncio.Event()
        health = asyncio.create_task(ask_for_health(outside, service.url, done))
        await post_evenly(outside, service.url)
        report = json.loads(await crowd.stdout.readline())
        done.set()
        seconds = await health
    finally:
        if crowd.returncode is None:
            crowd.kill()
        await crowd.wait()
    peak_bytes = read_peak_bytes(service.pid)
    print(report, f"memory {peak_bytes / 2**20:.0f} MiB, slowest health {max(seconds):.3f} s")
    assert report["changes"] == STREAMS * EVENTS_PER_SECOND * SECONDS
    assert report["p99_ms"] < 5000
    assert peak_bytes < MAX_MEMORY_BYTES
    assert statistics.median(seconds) < 1
    assert statistics.quantiles(seconds, n=10, method="inclusive")[-1] < 2
    assert max(seconds) < 10


@on_postgresql
@pytest.mark.load
async def test_an_event_reaches_the_stream_of_another_replica_soon(
    start_replicas: Callable[..., list[ServiceProcess]], outside: httpx.AsyncClient
) -> None:
    writing, reading = start_replicas(2)
    event = {"file_id": str(FILE), "event_type": "upload"}
    seconds: list[float] = []
    async with open_stream(outside, reading.url, cursor="latest") as stream:
        await stream.next()
        for _ in range(REPLICA_EVENTS):
            started = time.monotonic()
            response = await outside.post(f"{writing.url}/sync-events", json=event)
            change = json.loads((await stream.next_of("change")).data)
            seconds.append(time.monotonic() - started)
            assert change["event_id"] == response.json()["event_id"]
    print(f"from request to receipt: median {statistics.median(seconds):.3f} s, slowest {max(seconds):.3f} s")
    assert statistics.median(seconds) < MAX_MEDIAN_SECONDS
