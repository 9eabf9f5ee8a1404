"""How long the tests kill replicas: briefly within the suite, as long as wanted with SYNC_TEST_CHAOS_SECONDS."""

import os


def is_long() -> bool:
    """Whether the long form is asked for."""
    return bool(os.environ.get("SYNC_TEST_CHAOS_SECONDS"))


def chaos_seconds(default: float) -> float:
    """The seconds that are asked for, or `default`."""
    return float(os.environ.get("SYNC_TEST_CHAOS_SECONDS") or default)
