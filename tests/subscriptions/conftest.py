"""Fixtures of the tests of the API: receivers on loopback are allowed, and there is a key to keep secrets with.

The tests of this folder share a database of each kind, and most an application.
"""

from typing import Any

import pytest

from tests.support.receiver import WEBHOOK_SETTINGS
from tests.support.shared_application import *  # noqa: F403 - the fixtures of the folder
from tests.support.shared_database import *  # noqa: F403 - the fixtures of the folder


@pytest.fixture
def special_settings() -> dict[str, Any]:
    return {
        **WEBHOOK_SETTINGS,
        "webhook_lease": 50,  # a longer one would be ended as that of a wrong clock
        "webhook_poll_interval": 3600,  # what goes on by itself waits for tests that ask for it
    }
