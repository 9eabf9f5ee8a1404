"""The tests of this folder share a database of each kind."""

from pathlib import Path

import pytest

from tests.support.shared_database import (
    database,
    database_url,
    make_settings,
    share_loop,
    shared_database,
    shared_postgresql,
    shared_sqlite,
)

__all__ = [
    "database",
    "database_url",
    "make_settings",
    "shared_database",
    "shared_postgresql",
    "shared_sqlite",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests run in the event loop that the connections belong to."""
    share_loop(items, Path(__file__).parent)
