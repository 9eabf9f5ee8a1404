"""What the page on webhooks shows is what the service sends, and its code verifies it."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import WebhookVerificationError

from app.config import Settings
from app.deliveries.message import CONTENT_TYPE, event_body
from app.deliveries.policy import MAX_DELAY, MAX_RETRY_AFTER, MAX_SLOW_DELAY, delay, max_attempts
from app.main import create_app
from app.outbound.secret import new_secret, signed_headers
from tests.conftest import LOCAL_MODE, ROOT
from tests.deliveries.test_cloud_event import Row
from tests.docs.conftest import AUTHORITY
from tests.docs.markdown import code_blocks, rows, section
from tests.support.ports import ReservedPort
from tests.support.process import ServiceProcess
from tests.support.waiting import until

WEBHOOKS = ROOT / "docs" / "webhooks.md"
READERS = ["read_with_library", "read_by_hand"]
Read = Callable[[str, dict[str, str], bytes], dict[str, Any]]


def shown() -> tuple[dict[str, str], bytes, str]:
    """The headers, the body and the secret of the page's example."""
    [head] = code_blocks(WEBHOOKS, "http")
    headers = dict(line.split(": ", 1) for line in head.strip().splitlines()[1:])
    [document] = code_blocks(WEBHOOKS, "json")
    body = json.dumps(json.loads(document), separators=(",", ":")).encode()
    [secret] = re.findall(r"whsec_[A-Za-z0-9+/]+=*(?=`)", WEBHOOKS.read_text())
    return headers, body, secret


def reader(name: str) -> Read:
    """The function of this name on the page."""
    [code] = [block for block in code_blocks(WEBHOOKS, "python") if f"def {name}(" in block]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the page's own words
    read: Read = names[name]
    return read


def test_the_example_is_what_would_be_sent() -> None:
    headers, body, secret = shown()
    document = json.loads(body)
    data = document["data"]
    row = Row(
        UUID(data["event_id"]),
        data["position"],
        UUID(data["file_id"]),
        data["event_type"],
        datetime.fromisoformat(data["created_at"]),
        data["created_by"],
        data["metadata"],
    )
    assert body == event_body(row, UUID(document["source"].removeprefix("urn:uuid:")))
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    assert {name: headers[name] for name in headers if name.startswith("webhook-")} == signed_headers(
        str(row.id), at, body, [secret]
    )
    assert headers["Content-Type"] == CONTENT_TYPE
    assert timedelta() < at - row.created_at < timedelta(seconds=5)


def test_all_code_is_tried() -> None:
    assert len(code_blocks(WEBHOOKS, "python")) == len(READERS)


@pytest.mark.parametrize("name", READERS)
def test_the_code_reads_what_is_signed_and_nothing_else(name: str) -> None:
    read, secret, now = reader(name), new_secret(), datetime.now(UTC)
    _, body, _ = shown()
    headers = signed_headers("a", now, body, [new_secret(), secret])
    assert read(secret, headers, body) == json.loads(body)
    refusals = (ValueError, WebhookVerificationError)
    for other_headers, other_body in (
        (signed_headers("a", now, body, [new_secret()]), body),
        (headers, body + b" "),
        ({**headers, "webhook-id": "b"}, body),
        (signed_headers("a", now - timedelta(minutes=6), body, [secret]), body),
    ):
        with pytest.raises(refusals):
            read(secret, other_headers, other_body)


def test_the_table_of_retries_is_the_policy() -> None:
    settings = Settings(_env_file=None)
    interval = timedelta(seconds=settings.webhook_retry_interval)
    count = max_attempts(interval, timedelta(hours=settings.webhook_retry_hours))
    delays = [delay(attempts, interval) for attempts in range(1, count)]
    assert list(rows(section(WEBHOOKS, "Retries"))) == [
        [str(number), _spell(one), _spell(total)]
        for number, one, total in zip(range(2, count + 1), delays, accumulate(delays), strict=True)
    ]
    assert timedelta(hours=8) == MAX_DELAY
    assert timedelta(days=1) == MAX_RETRY_AFTER
    assert timedelta(minutes=5) == MAX_SLOW_DELAY


def _spell(time: timedelta) -> str:
    minutes, seconds = divmod(int(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def test_the_defaults_that_it_tells_are_those_of_the_settings() -> None:
    settings = Settings(_env_file=None)
    told = re.findall(r"`([A-Z_]+)` \(([0-9, ]+)(?: s)?\)", WEBHOOKS.read_text())
    assert {name for name, _ in told} >= {"WEBHOOK_TIMEOUT", "WEBHOOK_PORTS", "WEBHOOK_RETRY_HOURS", "WEBHOOK_LEASE"}
    for name, value in told:
        default = getattr(settings, name.lower())
        numbers = default if isinstance(default, tuple) else (default,)
        assert [float(one) for one in value.split(",")] == list(numbers), name


async def test_the_walk_leads_to_a_line(
    start_service: Callable[..., ServiceProcess], token: str, tmp_path: Path
) -> None:
    start, receive, record = code_blocks(WEBHOOKS, "bash")
    assert start == "WEBHOOK_ALLOW_PRIVATE_ADDRESSES=true make run\n"
    service = start_service(**LOCAL_MODE, WEBHOOK_ALLOW_PRIVATE_ADDRESSES="true", WEBHOOK_PORTS="0")
    reserved = ReservedPort()

    def script(block: str) -> list[str]:
        text = block.replace(f"http://{AUTHORITY}", service.url).replace("8080", str(reserved.number))
        return ["/bin/bash", "-euc", f"make() {{ echo {token}; }}\n{text.replace('.venv/bin/python', sys.executable)}"]

    output, errors = tmp_path / "output", tmp_path / "errors"
    receiver = _start(script(receive), output, errors)
    try:
        await until(lambda: "listening" in errors.read_text(), 60)
        await asyncio.to_thread(subprocess.run, script(record), cwd=ROOT, capture_output=True, check=True, timeout=60)
        await until(lambda: output.read_text().endswith("\n"), 60)
    finally:
        os.killpg(receiver.pid, signal.SIGINT)
        receiver.wait(60)
    [line] = output.read_text().splitlines()
    assert line.split()[2:] == ["1", "upload", "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11", '{"path":"a.txt"}']
    assert len(errors.read_text().splitlines()) == 1, "it has the secret, and refused nothing"


def _start(command: list[str], output: Path, errors: Path) -> "subprocess.Popen[bytes]":
    with output.open("wb") as out, errors.open("wb") as err:
        return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err, start_new_session=True)


def test_every_route_of_the_webhooks_is_listed() -> None:
    offered = {
        (method.upper(), re.sub(r"\{(subscription|delivery)_id\}", "{id}", path))
        for path, item in create_app(Settings(_env_file=None)).openapi()["paths"].items()
        for method in item
        if path.startswith("/subscriptions") or "deliver" in path
    }
    cells = [first for first, *_rest in rows(section(WEBHOOKS, "Subscriptions"))]
    listed = {tuple(one.split(" ", 1)) for cell in cells for one in re.findall(r"`([A-Z]+ [^`]+)`", cell)}
    assert listed == offered
