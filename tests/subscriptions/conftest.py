"""Fixtures of the tests of the API: receivers on loopback are allowed, and there is a key to keep secrets with.

The tests of this folder share a database of each kind, and most an application.
"""

from typing import Any

import pytest

from tests.support.shared_application import *  # noqa: F403 - the fixtures of the folder
from tests.support.shared_database import *  # noqa: F403 - the fixtures of the folder

KEY = "an encryption key of the tests that is long enough"


@pytest.fixture
def special_settings() -> dict[str, Any]:
    return {
        "webhook_allow_private_addresses": True,
        "webhook_ports": (0,),
        "webhook_encryption_keys": KEY,
        "webhook_poll_interval": 3600,  # what goes on by itself waits for tests that ask for it
    }
