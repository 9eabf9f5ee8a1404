"""The login at Auth0, against a tenant that checks the code's verifier."""

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.console.auth0 import Auth0
from tests.browser.prefix_proxy import prefix_proxy
from tests.conftest import AUDIENCE, service_processes
from tests.support.browser import open_page, watched
from tests.support.fork_server import ForkServer
from tests.support.keyserver import KeyServer
from tests.support.process import ServiceProcess

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
SCOPES = "read:sync write:sync admin:sync"
CLIENT = "the-console"
WAITING = "JSON.stringify([{...sessionStorage}, {...localStorage}])"


@pytest.fixture(scope="module")
def auth0(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Auth0]:
    """The tenant."""
    with Auth0(tmp_path_factory.mktemp("auth0"), AUDIENCE, SCOPES) as tenant:
        yield tenant


@pytest.fixture(scope="module")
def service(
    auth0: Auth0,
    sqlite_template: Path,
    issuer: KeyServer,
    fork_server: ForkServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServiceProcess]:
    """A service whose tokens come from the tenant."""
    folder = tmp_path_factory.mktemp("auth0-service")
    shutil.copy(sqlite_template, folder / "sync.db")
    with service_processes(f"sqlite:///{folder / 'sync.db'}", issuer, fork_server, folder) as begin:
        process = begin(
            AUTH0_DOMAIN=auth0.domain,
            AUTH0_CONSOLE_CLIENT_ID=CLIENT,
            AUTH_ENFORCE_SCOPES="true",
            SSL_CERT_FILE=str(auth0.ca_file),
        )
        process.wait_until_healthy()
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def login_page(browser: Browser, service: ServiceProcess) -> AsyncIterator[Page]:
    """A page that trusts the tenant; 127.0.0.1 is a secure context as localhost is."""
    async with open_page(browser, service.url, ignore_https_errors=True) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def page(login_page: Page, service: ServiceProcess, auth0: Auth0) -> AsyncIterator[Page]:
    """The same, as if it was new."""
    async with watched(login_page, service.url, f"https://{auth0.domain}", strict=False):
        yield login_page


async def test_the_login_comes_back_to_the_same_page(login_page: Page, service: ServiceProcess, auth0: Auth0) -> None:
    page = login_page
    async with watched(page, service.url, f"https://{auth0.domain}") as watch:
        await page.goto("/console#/ledger?event_type=upload")
        await page.get_by_role("button", name="Log in with Auth0").click()
        await expect(page.get_by_role("heading", name="Ledger")).to_be_visible()
        await expect(page.get_by_text("Live:")).to_be_visible()
        assert page.url == f"{service.url}/console#/ledger?event_type=upload"

        wanted = {"response_type": "code", "client_id": CLIENT, "audience": AUDIENCE, "scope": SCOPES}
        assert {name: auth0.asked[name] for name in wanted} == wanted
        assert auth0.asked["code_challenge_method"] == "S256"
        assert auth0.asked["redirect_uri"] == f"{service.url}/console"
        [token] = auth0.tokens
        assert json.loads(await page.evaluate(WAITING)) == [{}, {}]
    urls = [request.url for request in watch.requests]
    assert not any(token in url or "offline_access" in url for url in urls)


async def test_a_wrong_state_logs_nobody_in(page: Page, auth0: Auth0) -> None:
    await page.goto("/console#/ledger")
    auth0.state_of = lambda _state: "of-another-login"
    issued = len(auth0.tokens)
    await page.get_by_role("button", name="Log in with Auth0").click()
    await expect(page.get_by_role("alert")).to_contain_text("The login failed")
    auth0.state_of = lambda state: state
    assert len(auth0.tokens) == issued
    assert "code=" not in page.url
    assert json.loads(await page.evaluate(WAITING)) == [{}, {}]
    assert await page.get_by_role("navigation").count() == 0
    await page.get_by_role("button", name="Log in with Auth0").click()
    await expect(page.get_by_role("heading", name="Ledger")).to_be_visible()


async def test_a_return_that_nobody_began_logs_nobody_in(page: Page, service: ServiceProcess, auth0: Auth0) -> None:
    issued = len(auth0.tokens)
    await page.goto("/console?code=stolen&state=guessed")
    await expect(page.get_by_role("alert")).to_contain_text("begun elsewhere")
    assert page.url == f"{service.url}/console"
    text = "<b>no</b>"
    await page.goto(f"/console?error=access_denied&error_description={quote(text)}&state=x")
    await expect(page.get_by_role("alert")).to_contain_text("begun elsewhere")
    assert len(auth0.tokens) == issued


async def test_under_a_prefix_the_login_comes_back_there(
    login_page: Page, service: ServiceProcess, auth0: Auth0
) -> None:
    page = login_page
    async with (
        prefix_proxy(service.port) as proxy,
        watched(page, proxy.origin, f"https://{auth0.domain}"),
    ):
        await page.goto(f"{proxy.url}/console#/ledger?event_type=update")
        await page.get_by_role("button", name="Log in with Auth0").click()
        await expect(page.get_by_text("Live:")).to_be_visible()
        assert page.url == f"{proxy.url}/console#/ledger?event_type=update"
        assert auth0.asked["redirect_uri"] == f"{proxy.url}/console"
        assert json.loads(await page.evaluate(WAITING)) == [{}, {}]
    assert all(path.startswith("/api/sync/") for path in proxy.asked)
