"""What the README tells a newcomer to type works, against a real process in local mode."""

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx

from tests.docs.conftest import AUTHORITY
from tests.docs.markdown import OPERATIONS, README, TROUBLESHOOTING, code_blocks
from tests.support.process import ServiceProcess
from tests.support.waiting import until

OPEN_PATHS = ("/", "/health", "/health/live", "/health/ready", "/metrics", "/docs", "/redoc", "/openapi.json")


def curl(words: list[str], service: ServiceProcess) -> httpx.Response:
    """Do what curl does with these arguments."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("url")
    parser.add_argument("-X", default="GET")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d")
    options = parser.parse_args(words)
    url = options.url.replace(f"http://{AUTHORITY}", service.url)
    headers = dict(header.split(": ", 1) for header in options.H)
    return httpx.request(options.X, url, headers=headers, content=options.d, timeout=10)


def curl_lines() -> Iterator[list[str]]:
    """The arguments of each call of curl in the README."""
    for block in code_blocks(README, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["curl"]:
                yield words[1:]


async def test_every_line_with_curl_works(service: ServiceProcess, token: str) -> None:
    lines = [[word.replace("$TOKEN", token) for word in words] for words in curl_lines()]
    assert len(lines) == 4
    answers = [curl(words, service) for words in lines]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200]
    created, listed, _file, health = answers
    assert [event["event_id"] for event in listed.json()] == [created.json()["event_id"]]
    assert health.json()["status"] == "healthy"
    repeated = curl(lines[0], service)
    assert (repeated.json(), repeated.headers["Idempotency-Replayed"]) == (created.json(), "true")
    await until(lambda: curl(lines[2], service).json()["state"] == "present")


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
