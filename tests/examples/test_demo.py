"""`make demo` against the real service."""

import os

import pytest

from tests.examples.conftest import EXAMPLES
from tests.support.fork_server import ForkServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_the_demo_succeeds(fork_server: ForkServer) -> None:
    result = fork_server.run(("tests.support.script", str(EXAMPLES / "demo.py")), dict(os.environ), 360)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "watcher | " in result.stdout
    assert "Every event was processed" in result.stdout
    act = result.stdout[result.stdout.index("A metadata service and its block store") :]
    assert "verdict of the source: consistent" in act
    assert "check complete: 1 file compared, 1 difference: missing_block" in act
    assert "finding missing_block is open: The source" in act
    assert "would record an update with 2 blocks instead of 3" in act
    assert "applied: position 12 is an update of" in act
    assert act.index("is open") < act.index("applied") < act.index("finding missing_block is resolved")
