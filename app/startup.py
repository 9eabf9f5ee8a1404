"""What a process does once as it starts: refuse in one line that says what to do, and tune the garbage collector."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.auth.local import LocalSecretError
from app.concurrency.shutdown import StartInterrupted
from app.database.migrations import NotMigrated
from app.database.migrator import MigrationBlocked
from app.database.opening import DatabaseShared, DatabaseUnfit, NotDurable
from app.errors import Unavailable, describe
from app.http.connection import PortTaken

YOUNG_OBJECTS = 5000  # about as many as a large batch creates
_SERVER_LOGGER = "uvicorn.error"
_REFUSALS = (
    DatabaseShared,
    LocalSecretError,
    MigrationBlocked,
    NotDurable,
    NotMigrated,
    PortTaken,
    StartInterrupted,
)


class StartupRefused(Exception):
    """The service will not start as things are."""


@contextmanager
def clear_refusals() -> Iterator[None]:
    """Turn the expected reasons not to start into `StartupRefused`, which the server logs as a single line."""
    server = logging.getLogger(_SERVER_LOGGER)
    server.addFilter(_keep_last_line)
    try:
        yield
    except _REFUSALS as error:
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


def tune_garbage_collector() -> None:
    """Exclude all objects that exist now from later collections, once per process, and collect less often.

    Modules, classes and schemas are some hundred thousand objects that never become garbage, and every full collection
    would scan them. The events of a batch are enough to cause full collections, and are not garbage until they are
    written. Source: https://docs.python.org/3/library/gc.html#gc.freeze
    """
    young, *older = gc.get_threshold()
    if young != YOUNG_OBJECTS:  # to count the frozen objects would take longer than to freeze them
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, *older)
