"""Tells "the database can not serve this now" from every other database error."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.errors import Unavailable

# PostgreSQL, appendix A: connection, resources, operator intervention and I/O errors; read-only; lost races; closed.
_FAILED_CLASSES = ("08", "53", "57P", "58")
_FAILED_STATES = frozenset({"25006", "55000", "25P03", "40001", "40P01", "3D000", "28000", "28P01"})
_LOCK_TIMEOUT = "55P03"
_TIMEOUT_STATES = frozenset({_LOCK_TIMEOUT, "57014"})
_SQLITE_FAILED = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOMEM,
    }
)
_PRIMARY_CODE = 0xFF  # SQLite's extended codes carry the primary one in their low byte


class DatabaseUnavailable(Unavailable):
    """503: the database is down, read-only, full, busy or too slow; the same request may succeed later."""

    detail = "The database can not serve this now; try again."

    @property
    def connection_lost(self) -> bool:
        """Whether an established connection broke, so that a new one may do."""
        cause = self.__cause__
        return isinstance(cause, DBAPIError) and (cause.connection_invalidated or isinstance(cause, InterfaceError))


def connection_failed(error: BaseException) -> bool:
    """Whether `error` is the database's own and would meet any statement now."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, (DatabaseUnavailable, PoolTimeoutError))
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    state = _sqlstate(error)
    if state is not None:
        return state in _FAILED_STATES or state.startswith(_FAILED_CLASSES)
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is not None and code & _PRIMARY_CODE in _SQLITE_FAILED


def ran_out_of_time(error: BaseException) -> bool:
    """Whether `error` is a time-out that the database set for this statement or its locks."""
    return isinstance(error, DBAPIError) and _sqlstate(error) in _TIMEOUT_STATES


def waited_for_lock(error: BaseException) -> bool:
    """Whether `error` is the time-out of a lock that somebody else has, which says nothing of the statement."""
    return isinstance(error, DBAPIError) and _sqlstate(error) == _LOCK_TIMEOUT


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn every error that means "not now" into `DatabaseUnavailable`; the rest pass as they are.

    Connecting raises the bare errors of the socket.
    """
    try:
        yield
    except DatabaseUnavailable:
        raise
    except Exception as error:
        if connection_failed(error) or ran_out_of_time(error) or isinstance(error, (OSError, TimeoutError)):
            raise DatabaseUnavailable from error
        raise
