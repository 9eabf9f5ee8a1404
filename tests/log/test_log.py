"""Log lines: one each, whatever their values hold, and never a secret."""

import io
import json
import logging
import re
import sys
from collections.abc import Callable

import httpx
import pytest
import structlog
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span

from app.log import configure_logging
from tests.log.support import both_modes, hostile_values, read_record
from tests.log.text_line import read_text_line
from tests.support.process import ServiceProcess
from tests.support.tokens import TokenFactory

log = structlog.get_logger("tests")


@both_modes
@hostile_values
def test_a_value_stays_itself(capsys: pytest.CaptureFixture[str], as_json: bool, value: str) -> None:
    configure_logging(level="INFO", as_json=as_json)
    log.info("said", path=value, nested={"deep": [value]}, last=1)
    record, _ = read_record(capsys, as_json)
    nested = {"deep": [value]}
    assert (record["event"], record["path"], record["logger"]) == ("said", value, "tests")
    assert record["nested"] == (nested if as_json else repr(nested))
    assert set(record) == {"timestamp", "level", "logger", "event", "path", "nested", "last"}


@both_modes
@hostile_values
def test_a_name_stays_itself(capsys: pytest.CaptureFixture[str], as_json: bool, value: str) -> None:
    configure_logging(level="INFO", as_json=as_json)
    log.info("said", **{value: 1})
    assert str(read_record(capsys, as_json)[0][value]) == "1"
    logging.getLogger(value).error("said")
    assert read_record(capsys, as_json)[0]["logger"] == value


@both_modes
@hostile_values
def test_a_message_stays_itself(capsys: pytest.CaptureFixture[str], as_json: bool, value: str) -> None:
    configure_logging(level="INFO", as_json=as_json)
    for message in (value, f"got {value}", f"request  level=error {value}"):
        log.info(message)
        assert read_record(capsys, as_json)[0]["event"] == message
        logging.getLogger("uvicorn.error").error("%s", message)
        assert read_record(capsys, as_json)[0]["event"] == message


class Object:
    """Something that says of itself what it was given."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


@both_modes
@hostile_values
def test_an_object_stays_within_its_value(capsys: pytest.CaptureFixture[str], as_json: bool, value: str) -> None:
    configure_logging(level="INFO", as_json=as_json)
    log.info("said", value=Object(value))
    assert read_record(capsys, as_json)[0]["value"] == value


@both_modes
@hostile_values
def test_a_traceback_stays_within_its_record(capsys: pytest.CaptureFixture[str], as_json: bool, value: str) -> None:
    configure_logging(level="INFO", as_json=as_json)

    def fail(password: str) -> None:
        raise RuntimeError(value)

    for logger in (log, logging.getLogger("uvicorn.error")):
        try:
            fail("hunter" + str(2))
        except RuntimeError as error:
            error.add_note(value)
            logger.exception("failed", stack_info=True)
        record, traceback = read_record(capsys, as_json)
        text = json.dumps(record) + "\n".join(traceback)
        assert "RuntimeError" in text
        assert "hunter2" not in text
        if as_json:
            assert record["exception"][0]["exc_value"] == value
            assert record["exception"][0]["exc_notes"] == [value]
        else:
            assert "    | Traceback (most recent call last):" in traceback
            assert record["event"] == "failed"


@both_modes
def test_a_line_says_when_where_and_how_bad(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    configure_logging(level="INFO", as_json=as_json)
    with structlog.contextvars.bound_contextvars(request_id="mine", subject="me"):
        log.warning("said", number=1, path="/files?a")
    line = capsys.readouterr().err
    if as_json:
        read = json.loads(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", read.pop("timestamp"))
        expected = {"event": "said", "level": "warning", "logger": "tests", "number": 1, "path": "/files?a"}
        assert read == {**expected, "request_id": "mine", "subject": "me"}
    else:
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z  warning   said  "
            r"number=1 path=/files\?a request_id=mine subject=me  \[tests\]\n",
            line,
        )


class Terminal(io.StringIO):
    """A stderr with colours."""

    def isatty(self) -> bool:
        return True


@hostile_values
def test_only_a_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TERM", "xterm")
    outputs = []
    for no_colours in ("", "1"):
        monkeypatch.setenv("NO_COLOR", no_colours)
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        configure_logging(level="INFO", as_json=False)
        log.info("said", path=value)
        outputs.append(terminal.getvalue())
    coloured, plain = outputs
    assert coloured.startswith("\x1b[2m")
    for output in (plain, re.sub(r"\x1b\[[0-9;]*m", "", coloured)):
        assert read_text_line(output[:-1])["path"] == value


@both_modes
def test_a_line_that_can_not_be_rendered_becomes_one_that_says_so(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    configure_logging(level="INFO", as_json=as_json)
    logging.getLogger("library").error("%d", "hunter2\nforged")
    record, _ = read_record(capsys, as_json)
    assert (record["event"], record["of"], record["error"]) == (
        "a log line could not be written",
        "library",
        "TypeError",
    )


@both_modes
def test_lines_carry_the_ids_of_their_span(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    configure_logging(level="INFO", as_json=as_json)
    context = SpanContext(0xABC, 0xDEF, is_remote=False)
    with use_span(NonRecordingSpan(context)):
        log.info("within")
    record, _ = read_record(capsys, as_json)
    assert (record["trace_id"], record["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    log.info("without")
    assert "trace_id" not in read_record(capsys, as_json)[0]


def test_lines_below_the_level_and_of_other_peoples_business_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="WARNING", as_json=True)
    log.info("too low")
    assert capsys.readouterr().err == ""
    configure_logging(level="DEBUG", as_json=True)
    log.debug("low enough")
    assert read_record(capsys, as_json=True)[0]["event"] == "low enough"
    logging.getLogger("uvicorn.access").info("GET / HTTP/1.1")
    logging.getLogger("aiosqlite").debug("INSERT hunter2")
    logging.getLogger("httpx").info("GET the keys")
    assert capsys.readouterr().err == ""


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
    service.end()  # which writes the last line, as a kill may not
    requests = [line for line in service.output().splitlines() if "/sync-events" in line]
    assert len(requests) == 8
    for word in ("hunter2", good.split(".")[2], good.split(".")[1], secret):
        assert word not in service.output()
