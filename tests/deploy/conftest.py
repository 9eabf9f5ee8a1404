"""Tests that need a tool of their own are left out where it is missing; in CI its absence is a failure."""

import os
import shutil

import pytest

TOOLS = ("kubectl", "promtool")  # each is a marker too


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what cannot run here, so that a bare machine still runs the rest."""
    missing = [] if os.environ.get("CI") == "true" else [tool for tool in TOOLS if not shutil.which(tool)]
    unable = [item for item in items if any(item.get_closest_marker(tool) for tool in missing)]
    if unable:
        config.hook.pytest_deselected(items=unable)
        items[:] = [item for item in items if item not in unable]
