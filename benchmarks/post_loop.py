"""`python -m benchmarks.post_loop URL POSTS AT_ONCE`: httpx POSTs the same small document repeatedly, timed."""

import asyncio
import json
import sys
import time

import httpx
import uvloop

HEADERS = {
    "content-type": "application/cloudevents+json; charset=utf-8",
    "user-agent": "sync-service/1.0.0",
    "webhook-id": "019376a4-9c1e-7b52-8f0e-3f6d2a1b4c5d",
    "webhook-timestamp": "1768473000",
    "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
}
BODY = json.dumps(
    {"specversion": "1.0", "data": {"metadata": {"path": "reports/1.pdf"}, "padding": "x" * 500}}
).encode()


async def main(url: str, posts: int, at_once: int) -> None:
    """Send, and print the seconds that it took."""
    left = iter(range(posts))

    async def repeat(client: httpx.AsyncClient) -> None:
        for _ in left:
            (await client.post(url, content=BODY, headers=HEADERS)).raise_for_status()

    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        started, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(repeat(client) for _ in range(at_once)))
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - used
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
