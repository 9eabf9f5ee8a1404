"""A service with something of everything to look at, and a page of its console that is watched."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import httpx
from playwright.async_api import Page, Route, expect

from app.auth.local import mint_local_token
from app.auth.token import Scope
from app.config import Settings
from tests.conftest import LOCAL_MODE
from tests.support.browser import Watch, watched
from tests.support.process import ServiceProcess
from tests.support.waiting import until

SCOPES = tuple(Scope)
ERROR = "ValueError: <b>size</b> is no number"

Scheme = Literal["light", "dark"]


def file_id(number: int) -> UUID:
    """An id for a file of a test."""
    return UUID(int=number, version=4)


def mint(scopes: Sequence[Scope] = SCOPES, subject: str = "operator") -> str:
    """A token of local mode for an hour."""
    settings = Settings(_env_file=None, auth0_domain="", secret_key=LOCAL_MODE["SECRET_KEY"])
    return mint_local_token(settings, subject, scopes, None, datetime.now(UTC))


@dataclass
class Desk:
    """The service, its database file and a client with all scopes; a page that the tests use in turn."""

    service: ServiceProcess
    database: Path
    client: httpx.AsyncClient
    page: Page
    places: dict[str, str] = field(default_factory=dict)  # by page: the fragment of something to look at

    async def post(self, *events: dict[str, Any]) -> list[str]:
        """Record events and return their ids."""
        response = await self.client.post("/sync-events/batch", json={"events": events})
        response.raise_for_status()
        ids: list[str] = response.json()["event_ids"]
        return ids

    async def set_aside(self, count: int, error: str = ERROR) -> list[str]:
        """Record events of files of their own, and have the sweep's verdict on them that they failed; their ids."""
        ids = await self.post(*({"file_id": str(file_id(1000 + n)), "event_type": "upload"} for n in range(count)))
        await self.settled()
        events = (await self.client.get("/sync-events", params={"limit": count})).json()
        assert [event["event_id"] for event in reversed(events)] == ids
        with closing(sqlite3.connect(self.database, timeout=60)) as connection, connection:
            connection.executemany(
                "UPDATE sync_events SET processed = 0, processed_at = NULL, retry_state = 'failed', attempts = 5, "
                "last_error = ? WHERE position = ?",
                [(error, event["position"]) for event in events],
            )
        return ids

    async def end_deliveries(self, path: str) -> None:
        """Have all deliveries of a subscription, which are delivered, be dead instead."""

        async def are_delivered() -> bool:
            deliveries = (await self.client.get(f"{path}/deliveries")).json()
            return all(one["status"] == "delivered" for one in deliveries)

        await until(are_delivered)
        with closing(sqlite3.connect(self.database, timeout=60)) as connection, connection:
            statement = "UPDATE deliveries SET status = 'dead' WHERE subscription_id = ?"
            changed = connection.execute(statement, (UUID(path.rpartition("/")[2]).hex,))
            assert changed.rowcount

    async def settled(self) -> None:
        """Wait until every event is processed or set aside."""

        async def is_settled() -> bool:
            number = (await self.client.get("/health")).json()["unprocessed_events"]
            return bool(number == 0)  # null: the look at the database took too long

        await until(is_settled)


class Console:
    """A page at the console of a desk, with what it has asked for."""

    def __init__(self, page: Page, origin: str, watch: Watch) -> None:
        self.page = page
        self.origin = origin
        self.requests = watch.requests

    @property
    def asked(self) -> list[str]:
        """The paths of the API that were asked for, without their queries."""
        paths = [request.url.split("/", 3)[3].split("?")[0].split("#")[0] for request in self.requests]
        return [path for path in paths if not path.startswith("console")]

    async def log_in(self, token: str, fragment: str = "/overview") -> None:
        """Open the console at a page, and paste the token."""
        field = self.page.get_by_label("Token")
        if self.page.url.startswith(f"{self.origin}/console") and await field.is_visible():
            await self.page.evaluate("fragment => { location.hash = fragment; }", fragment)
        else:
            await self.page.goto(f"{self.origin}/console#{fragment}")
        await field.fill(token)
        await self.page.keyboard.press("Enter")
        await expect(self.page.get_by_role("navigation")).to_be_visible()

    async def log_out(self) -> None:
        """Back to the login, wherever the page is: the next test need not load it again, which takes a second."""
        await self.page.evaluate("document.querySelector('.who button:last-child')?.click()")
        await expect(self.page.get_by_role("navigation")).to_have_count(0)

    async def go(self, fragment: str) -> None:
        """Go to another page, and wait until it shows what it has loaded."""
        await self.page.evaluate("fragment => { location.hash = fragment; }", fragment)
        await self.loaded()

    async def loaded(self) -> None:
        """Wait until nothing is being loaded for the first time."""
        await expect(self.page.locator("main h1")).to_be_visible()
        await expect(self.page.locator("[aria-busy]")).to_have_count(0)


@asynccontextmanager
async def console_page(
    desk: Desk,
    *,
    page: Page | None = None,
    origin: str = "",
    scheme: Scheme = "light",
    width: int = 1280,
    strict: bool = True,
) -> AsyncIterator[Console]:
    """The desk's page, or another one, before the login, at the service or at `origin`, which leads there.

    Raises:
        AssertionError: at the end, when it loaded anything from elsewhere or, where `strict`, reported an error.
    """
    page, origin = page or desk.page, origin or desk.service.url
    await page.set_viewport_size({"width": width, "height": 900})
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    async with watched(page, origin, strict=strict, stays=True) as watch:
        console = Console(page, origin, watch)
        yield console
        await console.log_out()


async def confirm(page: Page, button: str, count: int) -> None:
    """Type the count into the dialog, after another one did nothing."""
    dialog = page.get_by_role("dialog")
    action = dialog.get_by_role("button", name=button)
    await dialog.get_by_label("to confirm").fill(str(count + 1))
    await expect(action).to_be_disabled()
    await dialog.get_by_label("to confirm").fill(str(count))
    await action.click()


@asynccontextmanager
async def held(page: Page, pattern: str) -> AsyncIterator[asyncio.Event]:
    """Requests of a pattern wait until the block ends; the event is set when the first has come."""
    has_come, may_go_on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        has_come.set()
        await may_go_on.wait()
        await route.continue_()

    await page.route(pattern, hold)
    try:
        yield has_come
    finally:
        may_go_on.set()
