"""Tests that need a tool of their own are left out where it is missing; in CI its absence is a failure."""

import os
import shutil

import pytest

TOOLS = {"kubectl": "kubectl", "nginx": "nginx", "promtool": "promtool", "systemd": "systemd-analyze"}  # by marker
SEARCHED = f"{os.environ['PATH']}:/usr/sbin"  # of nginx


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what cannot run here, so that a bare machine still runs the rest."""
    in_ci = os.environ.get("CI") == "true"
    missing = [marker for marker, tool in TOOLS.items() if not in_ci and not shutil.which(tool, path=SEARCHED)]
    unable = [item for item in items if any(item.get_closest_marker(marker) for marker in missing)]
    if unable:
        config.hook.pytest_deselected(items=unable)
        items[:] = [item for item in items if item not in unable]
