"""The login at Auth0, against a tenant that checks the code's verifier."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, Page, Request, Route, expect

from tests.conftest import AUDIENCE, service_processes
from tests.support.auth0 import Auth0
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


@pytest.fixture
def address(service: ServiceProcess) -> str:
    """Where the console is; localhost is a secure context as 127.0.0.1 is."""
    return service.url


async def open_page(browser: Browser, address: str) -> Page:
    context = await browser.new_context(base_url=address, ignore_https_errors=True)
    return await context.new_page()


async def test_the_login_comes_back_to_the_same_page(browser: Browser, address: str, auth0: Auth0) -> None:
    page = await open_page(browser, address)
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108 - playwright marks what it is given
    await page.goto("/console#/ledger?event_type=upload")
    await page.get_by_role("button", name="Log in with Auth0").click()
    await expect(page.get_by_role("heading", name="Ledger")).to_be_visible()
    await expect(page.get_by_text("Live:")).to_be_visible()
    assert page.url == f"{address}/console#/ledger?event_type=upload"

    wanted = {"response_type": "code", "client_id": CLIENT, "audience": AUDIENCE, "scope": SCOPES}
    assert {name: auth0.asked[name] for name in wanted} == wanted
    assert auth0.asked["code_challenge_method"] == "S256"
    assert auth0.asked["redirect_uri"] == f"{address}/console"
    [token] = auth0.tokens
    assert json.loads(await page.evaluate(WAITING)) == [{}, {}]
    assert not any(token in request.url for request in requests)
    assert not any("offline_access" in request.url for request in requests)
    await page.context.close()


async def test_a_wrong_state_logs_nobody_in(browser: Browser, address: str, auth0: Auth0) -> None:
    page = await open_page(browser, address)
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
    await page.context.close()


async def test_a_return_that_nobody_began_logs_nobody_in(browser: Browser, address: str, auth0: Auth0) -> None:
    page = await open_page(browser, address)
    issued = len(auth0.tokens)
    await page.goto("/console?code=stolen&state=guessed")
    await expect(page.get_by_role("alert")).to_contain_text("begun elsewhere")
    assert page.url == f"{address}/console"
    text = "<b>no</b>"
    await page.goto(f"/console?error=access_denied&error_description={quote(text)}&state=x")
    await expect(page.get_by_role("alert")).to_contain_text("begun elsewhere")
    assert len(auth0.tokens) == issued
    await page.context.close()


async def test_under_a_prefix_the_login_comes_back_there(browser: Browser, address: str, auth0: Auth0) -> None:
    page = await open_page(browser, address)

    async def without_prefix(route: Route) -> None:
        await route.continue_(url=route.request.url.replace("/api/sync/", "/", 1))

    await page.route(re.compile(f"^{re.escape(address)}/"), without_prefix)
    await page.goto("/api/sync/console#/overview")
    await page.get_by_role("button", name="Log in with Auth0").click()
    await page.wait_for_url("**/api/sync/console?code=*")
    assert auth0.asked["redirect_uri"] == f"{address}/api/sync/console"
    await page.context.close()
