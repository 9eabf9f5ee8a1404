"""Schemathesis, with every check on, finds nothing in the live service on PostgreSQL."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.marks import on_postgresql
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory

CONFIGURATION = """
[auth.openapi.bearer]
bearer = "${TOKEN}"

[[operations]]
include-operation-id = "applyConsistencyRepair"
checks.missing_required_header.expected-statuses = ["400", "401", "403", "406", "415", "422", "428"]
"""
FEW_METHODS = """
[phases.coverage]
unexpected-methods = ["PATCH", "TRACE"]
"""
HOOKS = "tests.support.schemathesis_hooks"
EXAMPLES = os.environ.get("SYNC_TEST_EXAMPLES")  # for each operation; with it every unexpected method is tried
PATIENCE = {  # no request is refused because the run itself keeps the service busy
    f"{name}_TIMEOUT": "60"
    for name in (
        "BODY",
        "DATABASE_LOCK",
        "DATABASE_POOL",
        "DATABASE_STATEMENT",
        "HEADER",
        "KEEP_ALIVE",
        "LEDGER_APPEND",
    )
}


@pytest.mark.load
@pytest.mark.timeout(900)
@on_postgresql
def test_nothing_is_found(start_service: Callable[..., ServiceProcess], tokens: TokenFactory, tmp_path: Path) -> None:
    service = start_service(
        AUTH_ENFORCE_SCOPES="true",
        WEBHOOK_ENCRYPTION_KEYS="k" * 32,
        WEBHOOK_MAX_SUBSCRIPTIONS="10000",
        WEBHOOK_TIMEOUT="1",
        **PATIENCE,
    )
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION + ("" if EXAMPLES else FEW_METHODS))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--no-color", "run", f"{service.url}/openapi.json"),
            *("--checks", "all", "--mode", "all", "--phases", "examples,coverage,fuzzing,stateful"),
            *("--generation-deterministic", "--max-examples", EXAMPLES or "1", "--continue-on-failure"),
            # A stream has no end to wait for; tests/changes/test_stream.py sends it what is wrong.
            *("--exclude-operation-id", "streamChanges"),
            # Strings with NUL are refused by contract, which a schema cannot say; other tests send them.
            *("--generation-allow-x00", "false", "--request-timeout", "100"),
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": HOOKS,
            "TOKEN": tokens.token(scope="read:sync write:sync admin:sync"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "47 selected / 48 total" in done.stdout
    assert "FAILURES" not in done.stdout
    assert "Traceback" not in service.output()
