"""The service itself, with an append that writes nothing: HTTP, authentication and validation remain."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from app.config import load_settings
from app.events.group import EventRecord, Receipt
from app.events.ledger import Ledger
from app.main import create_app


class NoLedger(Ledger):
    """Confirms every event without recording it."""

    async def append(self, records: Sequence[EventRecord]) -> list[Receipt]:
        """Receipts at once."""
        return [Receipt(record.id, replayed=False) for record in records]


def create_app_without_append() -> FastAPI:
    """The application, its ledger exchanged once its lifespan has begun."""
    service = create_app(load_settings())
    lifespan = service.router.lifespan_context

    @asynccontextmanager
    async def without_append(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with lifespan(app) as opened:
            state = dict(opened or {})
            ledger = NoLedger(state["database"], group_size=1, queue_size=1, append_timeout_seconds=1)
            yield {**state, "ledger": ledger}

    service.router.lifespan_context = without_append
    return service


app = create_app_without_append()
