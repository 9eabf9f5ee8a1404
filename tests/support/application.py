"""The application in this process, with its lifespan, behind a real HTTP client."""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from app.operations.health import HealthMonitor
from tests.support.waiting import until


@asynccontextmanager
async def serve_in_process(app: FastAPI, *, swept: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    """Run the lifespan of `app` and give a client whose requests reach it as uvicorn's would.

    `swept`: once the first sweep has ended, which could process an event of a test that counts on none.
    """
    async with app.router.lifespan_context(app) as state:
        if swept:
            assert state
            monitor: HealthMonitor = state["monitor"]
            await until(lambda: monitor.last_sweep_at() is not None)

        async def with_state(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(app=with_state, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://sync-service") as client:
            yield client
