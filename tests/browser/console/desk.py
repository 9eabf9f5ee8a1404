"""A service with something of everything to look at, and a page of its console that is watched."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import httpx
from playwright.async_api import Browser, Page, Request, expect

from app.auth.local import mint_local_token
from app.config import Settings
from tests.conftest import LOCAL_MODE
from tests.support.browser import Watch
from tests.support.process import ServiceProcess
from tests.support.waiting import until

SCOPES = ("read:sync", "write:sync", "admin:sync")
ERROR = "ValueError: <b>size</b> is no number"
ABORTED = "net::ERR_ABORTED"  # what a page has asked for and does not want any more when it is left

Scheme = Literal["light", "dark"]


def file_id(number: int) -> UUID:
    """An id for a file of a test."""
    return UUID(int=number, version=4)


def mint(scopes: Sequence[str] = SCOPES) -> str:
    """A token of local mode for an hour."""
    settings = Settings(_env_file=None, auth0_domain="", secret_key=LOCAL_MODE["SECRET_KEY"])
    return mint_local_token(settings, "operator", scopes, None, datetime.now(UTC))


@dataclass
class Desk:
    """The service, its database file and a client with all scopes."""

    service: ServiceProcess
    database: Path
    client: httpx.AsyncClient
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
        with closing(sqlite3.connect(self.database, timeout=20)) as connection:
            connection.execute("PRAGMA busy_timeout = 20000")
            for one in ids:
                event = (await self.client.get(f"/sync-events/{one}")).json()
                connection.execute(
                    "UPDATE sync_events SET processed = 0, processed_at = NULL, retry_state = 'failed', attempts = 5, "
                    "last_error = ? WHERE position = ?",
                    (error, event["position"]),
                )
            connection.commit()
        return ids

    async def settled(self) -> None:
        """Wait until every event is processed or set aside."""

        async def is_settled() -> bool:
            return not (await self.client.get("/health")).json()["unprocessed_events"]

        await until(is_settled)


class Console:
    """A page at the console of `desk`, with what it has asked for."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.requests: list[Request] = []
        self.watch = Watch(page, origin)
        page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108 - playwright marks what it is given

    @property
    def asked(self) -> list[str]:
        """The paths of the API that were asked for, without their queries."""
        paths = [request.url.split("/", 3)[3].split("?")[0].split("#")[0] for request in self.requests]
        return [path for path in paths if not path.startswith("console")]

    async def log_in(self, token: str, fragment: str = "/overview", path: str = "/console") -> None:
        """Open the console at a page, and paste the token."""
        await self.page.goto(f"{path}#{fragment}")
        await self.page.get_by_label("Token").fill(token)
        await self.page.keyboard.press("Enter")
        await expect(self.page.get_by_role("navigation")).to_be_visible()

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
    browser: Browser, desk: Desk, *, scheme: Scheme = "light", width: int = 1280, strict: bool = True, **options: Any
) -> AsyncIterator[Console]:
    """A page with a storage of its own.

    Raises:
        AssertionError: at the end, when it loaded anything from elsewhere or, where `strict`, reported an error.
    """
    origin = desk.service.url
    size: Any = {"width": width, "height": 900}
    async with await browser.new_context(base_url=origin, viewport=size, color_scheme=scheme, **options) as context:
        console = Console(await context.new_page(), origin)
        yield console
        complaints = [one for one in console.watch.complaints if not one.endswith(ABORTED)]
        complaints = [one for one in complaints if strict or one.startswith("outside request")]
        assert complaints == [], complaints
