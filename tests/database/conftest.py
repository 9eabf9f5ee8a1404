"""The file of the SQLite database under test."""

from pathlib import Path

import pytest


@pytest.fixture
def path(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))
