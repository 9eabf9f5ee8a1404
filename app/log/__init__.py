"""Structured logging: one shape for our lines and every library's; JSON in production, text in development."""

import logging
import os
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING

import structlog

from app.log.request_line import RequestLines, add_request_fields, add_trace
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
    text = None if as_json else TextRenderer(colours=_shows_colours())
    last: list[Processor] = (
        [_TRACEBACK_AS_DICT, structlog.processors.JSONRenderer()]
        if text is None
        else [_shorten_time, structlog.processors.format_exc_info, text]
    )
    handler = StderrHandler(RequestLines(text).render)
    handler.addFilter(_is_new)
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove_meta, *last]))
    _send_everything_to(handler, level)
    logging.captureWarnings(True)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _log_uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _log_uncaught_in_thread


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
