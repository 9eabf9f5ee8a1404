"""What goes wrong again and again is logged at the first, and then once a minute with its number."""

import logging

import structlog

from app.log.sparing import REPEAT_SECONDS, SparingFilter, SparingLog


def test_an_event_is_logged_at_the_first_and_then_once_a_minute_with_its_number() -> None:
    now = 1000.0
    sparing = SparingLog("test", clock=lambda: now)
    with structlog.testing.capture_logs() as lines:
        for _ in range(REPEAT_SECONDS + 1):
            sparing.warning("away", reason="refused")
            sparing.error("broken")
            now += 1
    first = {"reason": "refused", "log_level": "warning", "event": "away"}
    assert [line for line in lines if line["event"] == "away"] == [first, {**first, "times": REPEAT_SECONDS}]
    assert [line.get("times") for line in lines if line["event"] == "broken"] == [None, REPEAT_SECONDS]


def test_a_complaint_is_logged_once_a_minute_and_without_what_it_was_about() -> None:
    now = 1000.0

    def passes(sparing: SparingFilter, *arguments: object) -> str | None:
        error = (RuntimeError, RuntimeError("hunter2"), None)
        record = logging.LogRecord("exporter", logging.ERROR, "", 0, "lost %s, %s", arguments, error)
        return record.getMessage() if sparing.filter(record) and not record.exc_info else None

    sparing = SparingFilter(clock=lambda: now)
    assert passes(sparing, "spans", OSError("hunter2")) == "lost spans, OSError"
    assert passes(sparing, "spans", OSError("hunter2")) is None
    now += REPEAT_SECONDS
    assert passes(sparing, "spans", 2) == "lost spans, 2"
    assert passes(SparingFilter(keep_text=False), "hunter2", 2) == "lost (left out), 2"
