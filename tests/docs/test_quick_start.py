"""What the README tells a newcomer to type works, against a real process in local mode."""

import re
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.docs.conftest import AUTHORITY
from tests.docs.curl import curl, curl_lines
from tests.docs.markdown import OPERATIONS, PAGES, README, TROUBLESHOOTING, code_blocks, name
from tests.support.process import ServiceProcess
from tests.support.waiting import until

OPEN_PATHS = ("/", "/health", "/health/live", "/health/ready", "/metrics", "/docs", "/redoc", "/openapi.json")


async def test_every_line_with_curl_works(service: ServiceProcess, token: str) -> None:
    lines = curl_lines(README, service, token)
    assert len(lines) == 4
    await until(lambda: curl(lines[3]).status_code == 200)
    answers = [curl(words) for words in lines]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200]
    created, listed, _file, health = answers
    assert [event["event_id"] for event in listed.json()] == [created.json()["event_id"]]
    assert health.json()["status"] == "healthy"
    repeated = curl(lines[0])
    assert (repeated.json(), repeated.headers["Idempotency-Replayed"]) == (created.json(), "true")
    await until(lambda: curl(lines[2]).json()["state"] == "present")


async def test_python_without_the_client_works(service: ServiceProcess, token: str) -> None:
    code = code_blocks(README, "python")[0]
    assert AUTHORITY in code
    names: dict[str, Callable[..., object]] = {}
    exec(code.replace(f"http://{AUTHORITY}", service.url), names)  # noqa: S102 - the README's own words
    answer = await names["create_sync_event"](str(uuid4()), "upload", token)  # type: ignore[misc]  # it is a coroutine
    assert isinstance(answer, dict)
    assert answer["message"] == "Sync event created successfully"


def test_what_needs_no_token_answers(service: ServiceProcess) -> None:
    for path in OPEN_PATHS:
        assert httpx.get(f"{service.url}{path}").status_code == 200, path


def test_examples_name_the_default_ports() -> None:
    for page in (README, OPERATIONS, TROUBLESHOOTING):
        assert set(re.findall(r"http://localhost:(\d+)", page.read_text())) <= {"8000", "4318"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_of_the_virtual_environment_come_after_its_activation(page: Path) -> None:
    text = page.read_text()
    commands = r"^ *(?:\w+=\S+ )*(?:python3?(?! -m venv)|alembic|uvicorn|pytest|pip) .*$"
    bare = [line for block in code_blocks(page, "bash") for line in re.findall(commands, block, re.MULTILINE)]
    assert not bare or ". .venv/bin/activate" in text[: text.index(bare[0])], bare[0]
