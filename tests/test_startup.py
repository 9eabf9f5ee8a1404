"""The garbage collector does not scan objects that live as long as the process."""

import subprocess
import sys

import pytest

LOOK = """
import gc
from app.startup import tune_garbage_collector
from app import main
tracked = len(gc.get_objects())
tune_garbage_collector()
print(tracked, len(gc.get_objects()), gc.get_freeze_count(), gc.get_threshold()[0])
loop = []
loop.append(loop)
del loop
tune_garbage_collector()
print(gc.collect())
"""


@pytest.mark.slow
def test_existing_objects_are_frozen_once() -> None:
    ran = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=60)
    before, after = ran.stdout.splitlines()
    tracked, left, frozen, threshold = map(int, before.split())
    assert tracked > 100_000
    assert left < tracked / 100
    assert frozen > tracked / 2
    assert threshold == 5000
    assert int(after) >= 1, "later objects are still collected"
