"""Ledgers with something to follow, and followers that read pages."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy import delete, update

from app.database.engine import Database
from app.events.ledger_repository import LedgerRepository
from app.events.models import LedgerHead, SyncEvent
from tests.events.support import open_ledger, record

FILE = UUID("7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11")


async def fill(database: Database, events: int, *, file_id: UUID | None = None, event_type: str = "upload") -> None:
    """Append so many events, each of a file of its own unless one is given."""
    ledger = open_ledger(database)
    for start in range(0, events, 1000):
        number = min(1000, events - start)
        await ledger.append([record(file_id=file_id or uuid4(), event_type=event_type) for _ in range(number)])


async def replace_end(database: Database, *, keep: int, new: int) -> None:
    """Lose every event after the position `keep` and append so many others, in one transaction.

    This is what a follower finds that slept while a standby took over that had not received everything.
    """
    async with database.transaction() as session:
        await session.execute(delete(SyncEvent).where(SyncEvent.position > keep))
        await session.execute(update(LedgerHead).values(position=keep))
        await LedgerRepository(await session.connection()).add_events([record() for _ in range(new)])


async def get_page(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    """A page that must be one."""
    response = await client.get("/changes", params=query)
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


async def follow_pages(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """Every page from the beginning to the head; their ranges must join."""
    pages = [await get_page(client, **query)]
    while pages[-1]["has_more"]:
        pages.append(await get_page(client, **query, cursor=pages[-1]["cursor"]))
        assert pages[-1]["from_position"] == pages[-2]["to_position"] + 1
    return pages


def positions(pages: Sequence[dict[str, Any]]) -> list[int]:
    """The positions of all changes on `pages`."""
    return [change["position"] for page in pages for change in page["changes"]]
