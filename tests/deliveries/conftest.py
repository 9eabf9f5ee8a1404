"""The tests of this folder share a database of each kind."""

from tests.support.shared_database import *  # noqa: F403 - the fixtures of the folder
