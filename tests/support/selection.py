"""Which tests run, in what order, on how many workers and in which event loop."""

import os
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.browser import MISSING, find_chromium

SLOW_MARKERS = ("browser", "kubectl", "load", "long", "nginx", "pgbouncer", "promtool", "slow", "systemd", "wrk")
SLOW_FIXTURES = {"begin_service", "fork_server", "frail_postgres", "local_service", "postgres", "run"}


def pytest_report_header() -> list[str]:
    """What is left out on this machine."""
    return [] if find_chromium() else [f"browser tests are left out: {MISSING}"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `make quick` asks for."""
    parser.addoption("--quick", action="store_true", help="SQLite alone, no other process, no browser, no load")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the long ones, which one worker runs while the others take the rest; leave out what is not quick."""
    _share_loop(config, items)
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if config.getoption("quick"):
        slow = [item for item in items if not _is_quick(item)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]


def _share_loop(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the tests of folders that share connections in the event loop of the session, which these belong to."""
    plugins = config.pluginmanager.get_plugins()
    folders = {Path(plugin.__file__).parent for plugin in plugins if hasattr(plugin, "shared_database")}
    for item in items:
        if folders.intersection(item.path.parents) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def _is_quick(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    marked = any(item.get_closest_marker(name) for name in SLOW_MARKERS)
    return not (marked or "postgresql" in parameters or SLOW_FIXTURES.intersection(item.fixturenames))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three workers for two cores, four where no test starts a process: half of the time a test waits."""
    return (os.cpu_count() or 1) * (4 if config.getoption("quick") else 3) // 2 or 1
