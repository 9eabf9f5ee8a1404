"""Keeps a second process away from a SQLite database in production, however the processes are started."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from app.config import Settings


class DatabaseShared(Exception):
    """Another process serves the same SQLite database."""


@contextmanager
def sole_process(settings: Settings) -> Iterator[None]:
    """Hold a lock file beside a SQLite database in production; elsewhere do nothing.

    Raises:
        DatabaseShared: when another process holds it.
    """
    if settings.environment != "production" or not settings.database.is_sqlite:
        yield
        return
    # By any of its names it is one file.
    lock = FileLock(f"{Path(str(settings.database.url.database)).resolve()}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DatabaseShared(
            "DATABASE_URL names SQLite, which serves one worker, and another process has it: "
            "start a single worker, or use PostgreSQL"
        ) from None
    try:
        yield
    finally:
        lock.release()
