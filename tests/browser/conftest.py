"""A service in local mode, a token as a user gets one, a browser, and a page that is watched."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.console.desk import mint
from tests.support.browser import find_chromium, open_page, running_browser, watched
from tests.support.process import ServiceProcess


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the browser's tests out where there is none, except in CI, where they fail then."""
    if os.environ.get("CI") == "true" or find_chromium():
        return
    unable = [item for item in items if item.get_closest_marker("browser")]
    config.hook.pytest_deselected(items=unable)
    items[:] = [item for item in items if item not in unable]


@pytest.fixture(scope="session")
def service(local_service: ServiceProcess) -> ServiceProcess:
    """The service as a developer runs it."""
    return local_service


@pytest.fixture(scope="session")
def token() -> str:
    """A token with all scopes, as `python -m app token` prints one."""
    return mint(subject="developer")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all pages."""
    async with running_browser() as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_page(browser: Browser, service: ServiceProcess) -> AsyncIterator[Page]:
    """The page of all tests that need none of their own."""
    async with open_page(browser, service.url, reduced_motion="reduce") as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def page(shared_page: Page, service: ServiceProcess) -> AsyncIterator[Page]:
    """A page that may load from the service alone, and must not report an error."""
    async with watched(shared_page, service.url):
        yield shared_page
