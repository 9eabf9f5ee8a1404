"""Tests that leave the database whole: they share one of each kind, and most an application."""

from tests.support.shared_application import *  # noqa: F403 - the fixtures of the folder
from tests.support.shared_database import *  # noqa: F403 - the fixtures of the folder
