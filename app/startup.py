"""Refusals to start: one line that says what to do, not a traceback."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.auth.local import LocalSecretError
from app.database.durability import NotDurable
from app.database.migrations import NotMigrated
from app.database.preflight import DatabaseUnfit
from app.database.single_process import DatabaseShared
from app.errors import Unavailable, describe
from app.http.connection import PortTaken

_SERVER_LOGGER = "uvicorn.error"


class StartupRefused(Exception):
    """The service will not start as things are."""


@contextmanager
def clear_refusals() -> Iterator[None]:
    """Turn the expected reasons not to start into `StartupRefused`, which the server logs as a single line."""
    server = logging.getLogger(_SERVER_LOGGER)
    server.addFilter(_keep_last_line)
    try:
        yield
    except (DatabaseShared, NotMigrated, NotDurable, LocalSecretError, PortTaken) as error:
        raise StartupRefused(str(error)) from None
    except DatabaseUnfit as error:
        raise StartupRefused(f"DATABASE_URL: {error}") from None
    except Unavailable as error:
        raise StartupRefused(f"DATABASE_URL: {describe(error.__cause__ or error)}") from None


def _keep_last_line(record: logging.LogRecord) -> bool:
    # Starlette hands the server the whole traceback as text; its last line holds all there is to know.
    message = record.getMessage()
    if message.startswith("Traceback") and f"{StartupRefused.__name__}: " in message:
        record.msg, record.args = message.strip().splitlines()[-1].partition(": ")[2], None
    return True
