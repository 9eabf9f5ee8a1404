"""How long the tests kill replicas: briefly within the suite, as long as wanted with SYNC_TEST_CHAOS_SECONDS."""

import os


def chaos_seconds(default: float) -> float:
    """The seconds that are asked for, or `default`."""
    return float(os.environ.get("SYNC_TEST_CHAOS_SECONDS") or default)
