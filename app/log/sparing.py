"""Keeps what goes wrong again and again from filling the log: one line at the first, then at most one a minute."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

REPEAT_SECONDS = 60


class Sparing:
    """Says for each complaint whether to log it now, and counts how often it was not logged."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self._left_out: Counter[str] = Counter()

    def take(self, complaint: str) -> int | None:
        """How often it has come since it was logged last, this time included; None: do not log it now."""
        self._left_out[complaint] += 1
        now = self._clock()
        if now - self._logged_at.get(complaint, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return None
        self._logged_at[complaint] = now
        return self._left_out.pop(complaint)


class SparingLog:
    """A logger of one module that logs the same event at most once a minute; `times` is the number of occurrences."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = structlog.get_logger(name)
        self._sparing = Sparing(clock)

    def warning(self, event: str, **fields: Any) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write(logging.ERROR, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if times := self._sparing.take(event):
            self._log.log(level, event, **fields, **({} if times == 1 else {"times": times}))


class SparingFilter(logging.Filter):
    """Logs the same complaint of a library once a minute, and only the type of an exception: its text may hold URLs.

    Without `keep_text` other texts are left out too.
    """

    def __init__(self, *, keep_text: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._keep_text = keep_text
        self._sparing = Sparing(clock)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log `record`, which is changed."""
        if self._sparing.take(str(record.msg)) is None:
            return False
        if isinstance(record.args, tuple):
            record.args = tuple(self._harmless(value) for value in record.args)
        record.exc_info = record.exc_text = None
        return True

    def _harmless(self, value: object) -> object:
        if isinstance(value, BaseException):
            return type(value).__name__
        return value if self._keep_text or not isinstance(value, str) else "(left out)"
