"""What lives as long as the process is no work for the garbage collector."""

import subprocess
import sys

import pytest

LOOK = """
import gc
from app.gc_tuning import settle_heap
from app import main
tracked = len(gc.get_objects())
settle_heap()
print(tracked, len(gc.get_objects()), gc.get_freeze_count(), gc.get_threshold()[0])
loop = []
loop.append(loop)
del loop
settle_heap()
print(gc.collect())
"""


@pytest.mark.slow
def test_the_heap_is_settled_once() -> None:
    ran = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=60)
    before, after = ran.stdout.splitlines()
    tracked, left, frozen, threshold = map(int, before.split())
    assert tracked > 100_000
    assert left < tracked / 100
    assert frozen > tracked / 2
    assert threshold == 5000
    assert int(after) >= 1, "what came later is collected as ever"
