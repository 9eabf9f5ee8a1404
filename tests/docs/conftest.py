"""A service in local mode, and a token for it, as a newcomer gets them."""

import os
import re
import shlex
from collections.abc import Callable

import pytest

from tests.conftest import LOCAL_MODE, ROOT
from tests.support.fork_server import ForkServer
from tests.support.process import ServiceProcess

AUTHORITY = "localhost:8000"


@pytest.fixture
def service(start_service: Callable[..., ServiceProcess]) -> ServiceProcess:
    """A service in local mode."""
    return start_service(**LOCAL_MODE)


@pytest.fixture(scope="session")
def token(fork_server: ForkServer) -> str:
    """What `make -s token` prints."""
    recipe = re.search(r"^token:.*\n\t@\$\(BIN\)/python -m (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    done = fork_server.run(shlex.split(recipe[1]), {**os.environ, **LOCAL_MODE})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """A newcomer's database. The pages show the API, which the tests of each domain try on both kinds."""
    return sqlite_url
