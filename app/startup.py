"""What a process does once as it starts: refuse in one line that says what to do, and tune the garbage collector."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import StartupRefused, Unavailable, describe

YOUNG_OBJECTS = 5000  # about as many as a large batch creates


@contextmanager
def clear_refusals() -> Iterator[None]:
    """Have the server log an expected reason not to start as a single line."""
    logging.getLogger("uvicorn.error").addFilter(_keep_last_line)
    try:
        yield
    except StartupRefused as error:
        raise StartupRefused(str(error)) from None  # of one type, by which the filter knows it
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
