"""One service for all tests of the console, in local mode and on SQLite, with subscribers and a source."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.console.desk import Desk, file_id, mint
from tests.conftest import LOCAL_MODE, service_processes
from tests.consistency.owner import Owner, serving
from tests.support.browser import open_page
from tests.support.fork_server import ForkServer
from tests.support.keyserver import KeyServer
from tests.support.receiver import Receiver, answer, receiving
from tests.support.waiting import until

HOSTILE_RESPONSE = b"<img src=x onerror=alert(1)>\xe2\x80\xaegnp.exe"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def desk(
    browser: Browser,
    sqlite_template: Path,
    issuer: KeyServer,
    fork_server: ForkServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Desk]:
    """The service, with a ledger that has something for every page."""
    folder = tmp_path_factory.mktemp("console")
    database = folder / "sync.db"
    shutil.copy(sqlite_template, database)
    failing = Receiver(decide=lambda _request: answer(500, HOSTILE_RESPONSE))
    variables = {**LOCAL_MODE, "WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true", "WEBHOOK_PORTS": "0"}
    headers = {"Authorization": f"Bearer {mint()}"}
    # The service ends first, so that nothing connects to the others while they end.
    async with receiving(failing), serving(Owner()) as owner:
        with service_processes(f"sqlite:///{database}", issuer, fork_server, folder) as begin:
            service = begin(**variables)
            service.wait_until_healthy()
            async with (
                httpx.AsyncClient(base_url=service.url, headers=headers, timeout=60) as client,
                open_page(browser, service.url) as page,
            ):
                desk = Desk(service, database, client, page)
                await _furnish(desk, owner, failing)
                yield desk


async def _furnish(desk: Desk, owner: Owner, failing: Receiver) -> None:
    # Of updates, which the tail is full of, it would get thousands.
    wanted = {"url": failing.url, "description": "search index", "event_types": ["upload", "delete"]}
    subscription = await desk.client.post("/subscriptions", json=wanted)
    name = {"name": "metadata service", "kind": "contract", "url": owner.url, "grace_seconds": 0}
    source = (await desk.client.post("/consistency/sources", json=name)).json()["id"]
    files = [file_id(number) for number in range(1, 9)]
    owner.put(*files[:6])
    uploads = [{"file_id": str(one), "event_type": "upload", "metadata": {"path": f"{one}.pdf"}} for one in files]
    ids = await desk.post(*uploads, {"file_id": str(file_id(9)), "event_type": "delete"})
    await desk.set_aside(3)
    check = {"source": source, "scope": {"file_ids": [str(one) for one in files]}}
    (await desk.client.post("/consistency/checks", json=check)).raise_for_status()

    async def there_are_findings() -> bool:
        return bool((await desk.client.get("/consistency/findings")).json())

    await until(there_are_findings)
    path = f"/subscriptions/{subscription.json()['id']}"

    async def was_attempted() -> bool:
        return any(one["attempts"] for one in (await desk.client.get(f"{path}/deliveries?limit=100")).json())

    await until(was_attempted)
    deliveries = (await desk.client.get(f"{path}/deliveries?limit=100")).json()
    attempted = next(one["id"] for one in deliveries if one["attempts"])
    desk.places |= {
        "event": f"/event/{ids[0]}",
        "file": f"/file/{files[0]}",
        "subscription": path,
        "delivery": f"/delivery/{attempted}",
    }
    desk.places["subscription"] = path.replace("subscriptions", "subscription")
