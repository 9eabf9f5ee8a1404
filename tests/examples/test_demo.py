"""`make demo` against the real service."""

import subprocess
import sys

import pytest

from tests.examples.conftest import EXAMPLES

pytestmark = pytest.mark.slow


def test_the_demo_succeeds() -> None:
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / "demo.py")], capture_output=True, text=True, timeout=90, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "watcher | " in result.stdout
    assert "Every event was processed" in result.stdout
