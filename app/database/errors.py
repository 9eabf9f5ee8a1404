"""Tells "the database can not serve this now" from every other database error."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.errors import Unavailable

# PostgreSQL, appendix A: connection, resources, operator intervention and I/O errors; time-outs, lost races.
_UNAVAILABLE_CLASSES = ("08", "53", "57", "58")
_UNAVAILABLE_STATES = frozenset({"25006", "25P02", "25P03", "40001", "40P01", "55P03", "3D000", "28000", "28P01"})


class DatabaseUnavailable(Unavailable):
    """503: the database is down, read-only, full, busy or too slow; the same request may succeed later."""

    detail = "The database can not serve this now; try again."

    @property
    def connection_lost(self) -> bool:
        """Whether an established connection broke, so that a new one may do."""
        cause = self.__cause__
        return isinstance(cause, DBAPIError) and (cause.connection_invalidated or isinstance(cause, InterfaceError))


def is_unavailable(error: BaseException) -> bool:
    """Whether `error` says that the database can not serve now, as opposed to refusing this one statement."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, InterfaceError):
            return True
        state = getattr(error.orig, "sqlstate", None)
        if isinstance(state, str):
            return state in _UNAVAILABLE_STATES or state.startswith(_UNAVAILABLE_CLASSES)
        return isinstance(error, OperationalError) or isinstance(error.orig, (OSError, sqlite3.OperationalError))
    return isinstance(error, (DatabaseUnavailable, PoolTimeoutError, OSError, TimeoutError))


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn every error that means "not now" into `DatabaseUnavailable`; the rest pass as they are."""
    try:
        yield
    except DatabaseUnavailable:
        raise
    except Exception as error:
        if is_unavailable(error):
            raise DatabaseUnavailable from error
        raise
