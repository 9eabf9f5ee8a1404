"""A service in local mode, a token as a user gets one, and a page that is watched."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import pytest
from playwright.async_api import Page

from tests.conftest import ROOT
from tests.support.browser import find_chromium, watched_page
from tests.support.process import ServiceProcess

LOCAL_MODE = {"AUTH0_DOMAIN": "", "SECRET_KEY": "a-secret-of-this-test-with-enough-characters"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the browser's tests out where there is none, except in CI, where they fail then."""
    if os.environ.get("CI") == "true" or find_chromium():
        return
    unable = [item for item in items if item.get_closest_marker("browser")]
    config.hook.pytest_deselected(items=unable)
    items[:] = [item for item in items if item not in unable]


@pytest.fixture
def service(start_service: Callable[..., ServiceProcess]) -> ServiceProcess:
    """The service as a developer runs it."""
    return start_service(**LOCAL_MODE)


@pytest.fixture
def token() -> str:
    """What `python -m app token` prints."""
    command = [sys.executable, "-m", "app", "token"]
    done = subprocess.run(
        command, env={**os.environ, **LOCAL_MODE}, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
async def page(service: ServiceProcess) -> AsyncIterator[Page]:
    """A page that may load from the service alone, and must not report an error."""
    async with watched_page(service.url) as page:
        yield page
