"""Structured logging: one shape for our lines and every library's; JSON in production, text in development."""

import logging
import os
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import structlog
from pydantic_core import to_json

from app.log.request_line import RequestRecord, add_request_fields, add_trace
from app.log.stderr import StderrHandler
from app.log.text import TextRenderer

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

# uvicorn's own access log would repeat ours, without the request id.
SILENCED = ("uvicorn.access",)
# Their DEBUG lines would contain every statement with its values, and every byte sent to the key server.
CHATTY = ("aiosqlite", "asyncio", "httpcore", "httpx", "urllib3")
OURS = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "alembic", "sqlalchemy", "py.warnings", "fastapi")

# Marks an exception that the line of its request has reported; the server need not repeat it.
LOGGED = "This is in the log line of the request."

# Without local variables: they hold tokens and passwords.
_TRACEBACK_AS_DICT = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_log = structlog.get_logger(__name__)


def configure_logging(*, level: str, as_json: bool) -> None:
    """Send every log line of the process to stderr, one record each; values are quoted.

    Warnings become log lines too, and uncaught exceptions in a thread or in a task. May be called
    again, e.g. in a worker process.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_request_fields,
        add_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%Y-%m-%d %H:%M:%S.%f", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = StderrHandler()
    handler.addFilter(_is_new)
    handler.setFormatter(_Formatter(shared, as_json=as_json))
    _send_everything_to(handler, level)
    logging.captureWarnings(True)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _log_uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _log_uncaught_in_thread


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders every record in one shape: through `chain` first, unless it is the line of a request."""

    def __init__(self, chain: "list[Processor]", *, as_json: bool) -> None:
        text = TextRenderer(colours=_shows_colours())
        last: list[Processor] = (
            [_TRACEBACK_AS_DICT, structlog.processors.JSONRenderer()]
            if as_json
            else [_shorten_time, structlog.processors.format_exc_info, text]
        )
        super().__init__(foreign_pre_chain=chain, processors=[self.remove_processors_meta, *last])
        self._as_json = as_json
        self._render_text = text
        self._second, self._second_text = 0, ""

    def format(self, record: logging.LogRecord) -> str:
        """The line of `record`, without its end, and of a traceback in text the lines that follow."""
        if not isinstance(record, RequestRecord):
            return super().format(record)
        fields, level = cast("dict[str, Any]", record.msg), record.levelname.lower()
        if self._as_json:
            time = self._time(record.created, "T", digits=6)
            whole = {**fields, "event": "request", "level": level, "logger": record.name, "timestamp": time}
            return to_json(whole, ensure_ascii=True).decode()
        return self._render_text.render_request(self._time(record.created, " ", digits=3), level, record.name, fields)

    def _time(self, seconds: float, separator: str, *, digits: int) -> str:
        """RFC 3339 in UTC; there are many lines in a second, whose time but for its fraction is the same."""
        second = int(seconds)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat(separator)
        return f"{self._second_text}.{int((seconds - second) * 10**digits):0{digits}}Z"


def _shows_colours() -> bool:
    is_terminal = sys.stderr is not None and sys.stderr.isatty()  # a closed one is None
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _send_everything_to(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    for name in SILENCED:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], False
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _shorten_time(_logger: object, _method: str, fields: "EventDict") -> "EventDict":
    fields["timestamp"] = f"{fields['timestamp'][:-3]}Z"
    return fields


def _is_new(record: logging.LogRecord) -> bool:
    if record.name != "uvicorn.error":
        return True
    error = record.exc_info[1] if record.exc_info else None
    return LOGGED not in getattr(error, "__notes__", ())


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        _log.critical("uncaught exception", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(uncaught: threading.ExceptHookArgs) -> None:
    thread = uncaught.thread.name if uncaught.thread else None
    if uncaught.exc_value is not None and not isinstance(uncaught.exc_value, SystemExit):
        _log.critical("uncaught exception", thread=thread, exc_info=uncaught.exc_value)
