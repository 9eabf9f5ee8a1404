"""Log lines: one each, whatever their values hold, and never a secret."""

import json
import logging
import re
from collections.abc import Callable

import httpx
import pytest
import structlog

from app.log import configure_logging
from app.main import create_app
from tests.conftest import MakeSettings
from tests.support.application import serve_in_process
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory

HOSTILE = [
    "a\nlevel='error' event='forged'",
    "a\r\n{}",
    '{"event": "forged"}\n',
    "\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "nul\0",
    "line\N{LINE SEPARATOR}paragraph\N{PARAGRAPH SEPARATOR}next\x85end\x0b\x0c\x1c",
    "\N{RIGHT-TO-LEFT OVERRIDE}reversed",
    "half \ud800",
    "' event='forged'",
    "%s %d {} \\",
]
LINE = re.compile(r"[\x20-\x7e\xa0-\U0010ffff]*")
both_modes = pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])

log = structlog.get_logger("tests")


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that was logged, without its end."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("\n")
    line = printed.err[:-1]
    assert LINE.fullmatch(line), repr(line)
    assert line.splitlines() == [line], repr(line)
    return line


@both_modes
@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_a_value_stays_within_its_line(capsys: pytest.CaptureFixture[str], as_json: bool, value: str) -> None:
    configure_logging(level="INFO", as_json=as_json)
    log.info("said", path=value, nested={"deep": [value]})
    line = only_line(capsys)
    if as_json:
        read = json.loads(line)
        assert (read["event"], read["path"], read["nested"]) == ("said", value, {"deep": [value]})
    else:
        assert line.count(f"path={value!r} ") == 1
        assert " event='said' " in line


@both_modes
@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_a_message_of_a_library_is_one_line(capsys: pytest.CaptureFixture[str], as_json: bool, value: str) -> None:
    configure_logging(level="INFO", as_json=as_json)
    logging.getLogger("uvicorn.error").error("got %s", value)
    line = only_line(capsys)
    if as_json:
        assert json.loads(line)["event"] == f"got {value}"
    else:
        assert f"event={'got ' + value!r}" in line


@both_modes
@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_a_traceback_is_one_line_without_local_variables(
    capsys: pytest.CaptureFixture[str], as_json: bool, value: str
) -> None:
    configure_logging(level="INFO", as_json=as_json)

    def fail(password: str) -> None:
        raise RuntimeError(value)

    for logger in (log, logging.getLogger("uvicorn.error")):
        try:
            fail("hunter" + str(2))
        except RuntimeError:
            logger.exception("failed")
        line = only_line(capsys)
        assert "RuntimeError" in line
        assert "hunter2" not in line
        if as_json:
            assert json.loads(line)["exception"][0]["exc_value"] == value


@both_modes
def test_a_line_says_when_where_and_how_bad(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    configure_logging(level="INFO", as_json=as_json)
    with structlog.contextvars.bound_contextvars(request_id="mine"):
        log.warning("said", number=1)
    line = only_line(capsys)
    if as_json:
        read = json.loads(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", read.pop("timestamp"))
        assert read == {"event": "said", "level": "warning", "logger": "tests", "number": 1, "request_id": "mine"}
    else:
        assert re.fullmatch(
            r"timestamp='\S+Z' level='warning' logger='tests' event='said' number=1 request_id='mine'", line
        )


def test_lines_below_the_level_and_of_other_peoples_business_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="WARNING", as_json=True)
    log.info("too low")
    assert capsys.readouterr().err == ""
    configure_logging(level="DEBUG", as_json=True)
    log.debug("low enough")
    assert json.loads(only_line(capsys))["event"] == "low enough"
    logging.getLogger("uvicorn.access").info("GET / HTTP/1.1")
    logging.getLogger("aiosqlite").debug("INSERT hunter2")
    logging.getLogger("httpx").info("GET the keys")
    assert capsys.readouterr().err == ""


async def warm_up(
    client: httpx.AsyncClient, tokens: TokenFactory, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """Let pass what is logged once: the mode, and the arrival of the keys."""
    configure_logging(level="INFO", as_json=as_json)
    await client.get("/sync-events", headers={"Authorization": f"Bearer {tokens.token()}"})
    capsys.readouterr()


@both_modes
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
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
                line = only_line(capsys)
                assert ("request_id" in json.loads(line)) if as_json else line.count(" event='request' ") == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_subject_is_logged_as_it_is(
    make_settings: MakeSettings, tokens: TokenFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = "me' event='forged' \N{SNOWMAN}"
    async with serve_in_process(create_app(make_settings())) as client:
        await warm_up(client, tokens, capsys, as_json=True)
        answer = await client.get("/sync-events", headers={"Authorization": f"Bearer {tokens.token(sub=subject)}"})
        assert answer.status_code == 200
        assert json.loads(only_line(capsys))["subject"] == subject


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_process_logs_no_secret_at_any_level(
    start_service: Callable[..., ServiceProcess], database_url: str, tokens: TokenFactory, log_format: str
) -> None:
    # The server of the tests trusts everybody, so any password will do.
    url = database_url.replace("postgres@", "postgres:hunter2@")
    secret = "k" * 40
    service = start_service(LOG_LEVEL="DEBUG", LOG_FORMAT=log_format, DATABASE_URL=url, SECRET_KEY=secret)
    good = tokens.token()
    with httpx.Client(base_url=service.url) as client:
        for token in (good, good[:-4] + "AAAA", tokens.token(exp=1), "hunter2"):
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "hunter2", "Cookie": "hunter2"}
            event = {"file_id": "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11", "event_type": "upload"}
            client.post("/sync-events", json={**event, "metadata": {"hunter2": 1}}, headers=headers)
            client.get("/sync-events?token=hunter2", headers=headers)
    service.kill()
    requests = [line for line in service.output().splitlines() if "/sync-events" in line]
    assert len(requests) == 8
    for word in ("hunter2", good.split(".")[2], good.split(".")[1], secret):
        assert word not in service.output()
