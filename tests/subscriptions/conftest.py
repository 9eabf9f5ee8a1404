"""Fixtures of the tests of the API: receivers on loopback are allowed, and there is a key to keep secrets with."""

from typing import Any

import pytest

from app.config import Settings
from tests.conftest import MakeSettings

KEY = "an encryption key of the tests that is long enough"


@pytest.fixture
def make_settings(make_settings: MakeSettings) -> MakeSettings:
    """The settings of the suite, with those of the webhooks."""

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
