"""A service in local mode, and a token for it, as a newcomer gets them."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import ROOT
from tests.support.process import ServiceProcess

SECRET = "a secret of this test alone, long enough"
AUTHORITY = "localhost:8000"


@pytest.fixture
def service(start_service: Callable[..., ServiceProcess]) -> ServiceProcess:
    """A service in local mode."""
    return start_service(AUTH0_DOMAIN="", SECRET_KEY=SECRET)


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    """What `make -s token` prints."""
    recipe = re.search(r"^token:.*\n\t@\$\(BIN\)/python (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    monkeypatch.setenv("SECRET_KEY", SECRET)
    monkeypatch.setenv("AUTH0_DOMAIN", "")
    command = [sys.executable, *shlex.split(recipe[1])]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """A newcomer's database. The pages show the API, which the tests of each domain try on both kinds."""
    return sqlite_url
