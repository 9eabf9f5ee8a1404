"""Leaves the tests that need wrk out where it is missing, except in CI, where they fail then."""

import os
import shutil

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what this machine cannot run."""
    if os.environ.get("CI") == "true" or shutil.which("wrk"):
        return
    unable = [item for item in items if item.get_closest_marker("wrk")]
    config.hook.pytest_deselected(items=unable)
    items[:] = [item for item in items if item not in unable]
