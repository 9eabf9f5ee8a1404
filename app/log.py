"""Structured logging: one shape for our lines, uvicorn's and alembic's; JSON in production, text in development."""

import logging
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor

# uvicorn's own access log would repeat ours, without the request id.
SILENCED = ("uvicorn.access",)
# Theirs would be every statement with what is bound to it, and every byte on its way to the key server.
CHATTY = ("aiosqlite", "httpcore", "httpx")
OURS = ("uvicorn", "uvicorn.error", "alembic", "sqlalchemy")

# Without local variables: they hold tokens and passwords.
_TRACEBACK_AS_DICT = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure_logging(*, level: str, as_json: bool) -> None:
    """Send every log line of the process to stderr, one line each: whatever a value holds, it is quoted."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[Processor] = (
        [_TRACEBACK_AS_DICT, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(
                key_order=["timestamp", "level", "logger", "event"], drop_missing=True
            ),
        ]
    )
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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
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
