"""What a fresh process has loaded and does not scan: no SDK of traces, no object that lives as long as the process."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

LOOK = """
import asyncio, gc, json, sys
from app.startup import tune_garbage_collector
from app import main
tracked = len(gc.get_objects())
tune_garbage_collector()
seen = {
    "tracked": tracked,
    "left": len(gc.get_objects()),
    "frozen": gc.get_freeze_count(),
    "threshold": gc.get_threshold()[0],
}
loop = []
loop.append(loop)
del loop
tune_garbage_collector()
seen["collected"] = gc.collect()
async def run():
    async with main.app.router.lifespan_context(main.app):
        pass
asyncio.run(run())
seen["sdk"] = [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process saw that has no other variables than these."""
    folder = tmp_path_factory.mktemp("fresh")
    environment = {"DATABASE_URL": f"sqlite:///{folder}/sync.db", "SECRET_KEY_FILE": str(folder / "key")}
    command = [sys.executable, "-c", LOOK]
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=100)
    looked: dict[str, Any] = json.loads(ran.stdout)
    return looked


def test_existing_objects_are_frozen_once(seen: dict[str, Any]) -> None:
    assert seen["tracked"] > 100_000
    assert seen["left"] < seen["tracked"] / 100
    assert seen["frozen"] > seen["tracked"] / 2
    assert seen["threshold"] == 5000
    assert seen["collected"] >= 1, "later objects are still collected"


def test_without_the_variables_of_tracing_nothing_of_the_sdk_is_loaded(seen: dict[str, Any]) -> None:
    assert seen["sdk"] == []
