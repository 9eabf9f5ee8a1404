"""Every command of the tutorial, run in order in one shell against a real service, prints what the page says."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import LOCAL_MODE, ROOT
from tests.support.ports import ReservedPort
from tests.support.process import ServiceProcess

TUTORIAL = ROOT / "docs" / "tutorial.md"
STEP = re.compile(r"```bash\n(.*?)```\n(?:\n```text\n(.*?)\n```\n)?", re.DOTALL)
END_OF_STEP = "--- end of step ---"


@pytest.mark.timeout(400)
def test_the_tutorial(start_service: Callable[..., ServiceProcess], tmp_path: Path) -> None:
    receiver = ReservedPort()
    service = start_service(
        **LOCAL_MODE, WEBHOOK_ALLOW_PRIVATE_ADDRESSES="true", WEBHOOK_PORTS="0", WEBHOOK_RETRY_INTERVAL="0.5"
    )
    (start, _), (login, _), *steps = STEP.findall(TUTORIAL.read_text())
    assert start == "WEBHOOK_ALLOW_PRIVATE_ADDRESSES=true make run\n", "the service of this test"
    activation, *rest = login.splitlines(keepends=True)
    assert activation == ". .venv/bin/activate\n", "the Python that runs this test"
    script = f"\necho '{END_OF_STEP}'\n".join(["".join(rest), *(commands for commands, _ in steps)])
    for written, meant in {"127.0.0.1:8000": f"127.0.0.1:{service.port}", "8080": str(receiver.number)}.items():
        assert written in script
        script = script.replace(written, meant)
    script = script.replace("sleep 1", "sleep 0.1")
    script = script.replace("python -m app health", "until python -m app health; do sleep 0.1; done")
    environment = {
        **os.environ,
        **LOCAL_MODE,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SYNC_URL": service.url,
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=360, check=False
    )
    assert done.returncode == 0, done.stderr
    healthy, *printed = done.stdout.split(f"{END_OF_STEP}\n")
    assert "healthy" in healthy
    for (_, expected), output in zip(steps, printed, strict=True):
        pattern = ".*".join(re.escape(part) for part in expected.split("…"))
        assert re.fullmatch(pattern, output.strip(), re.DOTALL), (expected, output)
