"""Fixtures of the tests of the API: receivers on loopback are allowed, and there is a key to keep secrets with.

The tests of this folder share a database of each kind, and most an application.
"""

from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.database.engine import Database
from tests.conftest import MakeSettings
from tests.support.shared_database import (
    anonymous,
    client,
    database,
    database_url,
    share_loop,
    shared_database,
    shared_postgresql,
    shared_sqlite,
)

__all__ = [
    "anonymous",
    "client",
    "database",
    "database_url",
    "shared_database",
    "shared_postgresql",
    "shared_sqlite",
]

KEY = "an encryption key of the tests that is long enough"


@pytest.fixture
def make_settings(make_settings: MakeSettings, database: Database) -> MakeSettings:
    """The settings of the suite on a database with nothing in it, with those of the webhooks."""

    def make(**changes: Any) -> Settings:
        # What goes on by itself waits for tests that ask for it.
        ours = {
            "webhook_allow_private_addresses": True,
            "webhook_ports": (0,),
            "webhook_encryption_keys": KEY,
            "webhook_poll_interval": 3600,
        }
        return make_settings(**{**ours, **changes})

    return make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests run in the event loop that the connections belong to."""
    share_loop(items, Path(__file__).parent)
