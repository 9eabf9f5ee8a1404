"""The line of a request: one each, in the shape of every other line, whatever the caller sends."""

import asyncio
import json
import logging
import re
from contextvars import copy_context

import httpx
import pytest
import structlog

from app.log import configure_logging
from app.log.request_line import begin_request, bind_request_fields, log_request
from app.main import create_app
from tests.conftest import MakeSettings
from tests.log.support import HOSTILE, both_modes, read_printed, read_record
from tests.support.application import serve_in_process
from tests.support.marks import on_sqlite
from tests.support.tokens import TokenFactory


@both_modes
@pytest.mark.parametrize("value", ["plain", "", "two words", "a=b", "'quoted'", *HOSTILE], ids=ascii)
async def test_the_line_of_a_request_is_that_of_the_standard_library(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: bool, value: str
) -> None:
    """Where another handler listens, a request is a record as every other line; the line is the same."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logging(level="INFO", as_json=as_json)

    def log_one() -> str:
        begin_request(value)
        bind_request_fields(subject="me", event_id=value, reason=None)
        log_request(logging.WARNING, "POST", value, status=201, seconds=0.0123456, bug=None)
        line = read_printed(capsys).err
        return re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.\d+Z", "now", line)

    direct = copy_context().run(log_one)
    logging.getLogger().addHandler(logging.NullHandler())
    recorded = copy_context().run(log_one)
    if as_json:
        assert json.loads(direct) == json.loads(recorded)
    else:
        assert direct == recorded


async def test_lines_are_in_the_order_in_which_they_were_logged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logging(level="INFO", as_json=True)
    for turn in range(2):
        for path in ("/first", "/second"):
            log_request(logging.INFO, "GET", path, status=200, seconds=0.1, bug=None)
        structlog.get_logger("tests").info("between")
        log_request(logging.INFO, "GET", "/last", status=200, seconds=0.1, bug=None)
        await asyncio.sleep(0)  # at the end of the turn they are written
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert [line.get("path") for line in lines] == ["/first", "/second", None, "/last"], turn


async def warm_up(
    client: httpx.AsyncClient, tokens: TokenFactory, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """Let pass what is logged once: the mode, and the arrival of the keys."""
    configure_logging(level="INFO", as_json=as_json)
    await client.get("/sync-events", headers={"Authorization": f"Bearer {tokens.token()}"})
    read_printed(capsys)


@both_modes
@on_sqlite
async def test_a_request_can_not_forge_a_line(
    make_settings: MakeSettings, tokens: TokenFactory, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    hostile = "/%0Aevent='forged'%1B%5B31m%00%E2%80%A8"
    async with serve_in_process(create_app(make_settings())) as client:
        await warm_up(client, tokens, capsys, as_json=as_json)
        for headers in (
            {},
            {"Authorization": f"Bearer {tokens.token(sub='me' + chr(10) + 'forged')}"},
            {"Authorization": "Bearer a.b\x1b[31m.c"},
            {"X-Request-ID": "\x1b[31mforged", "User-Agent": "\x1b[31mforged", "Idempotency-Key": "\x1b[31mforged"},
        ):
            for url in (hostile, f"/files{hostile}", f"/sync-events{hostile}?q={hostile}"):
                assert 400 <= (await client.get(url, headers=headers)).status_code < 500
                record, _ = read_record(capsys, as_json)
                assert (record["event"], record["logger"]) == ("request", "app.access")
                assert "forged" not in record


@on_sqlite
async def test_a_subject_is_logged_as_it_is(
    make_settings: MakeSettings, tokens: TokenFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = "me' event='forged' \N{SNOWMAN}"
    async with serve_in_process(create_app(make_settings())) as client:
        await warm_up(client, tokens, capsys, as_json=True)
        answer = await client.get("/sync-events", headers={"Authorization": f"Bearer {tokens.token(sub=subject)}"})
        assert answer.status_code == 200
        assert read_record(capsys, as_json=True)[0]["subject"] == subject
