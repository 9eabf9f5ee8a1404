"""Distinguishes "the database cannot serve this now" from other errors, and keeps why writes are refused."""

import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.errors import Unavailable

log = structlog.get_logger(__name__)

DAMAGE = "damage"  # the check that finds the database damaged or lost
READ_ONLY = "read-only"  # the check that finds the database read-only
_DISK = "disk"
_READ_ONLY_REASON = "The database is read-only: a standby, default_transaction_read_only, or the rights of its file."
_ENFORCED = frozenset({READ_ONLY, _DISK})  # by the database itself, which knows first when it accepts writes again
_DISK_REASON = "The disk of the database is full, or cannot be written."
DAMAGED_RETRY_SECONDS = 60

# PostgreSQL, appendix A: connection, resources, operator intervention and I/O errors; read-only; lost races; closed.
_LOST_CLASSES = ("08", "57P01", "57P02", "57P03")
_FAILED_CLASSES = ("08", "53", "57P", "58")
_FAILED_STATES = frozenset({"25006", "55000", "25P03", "40001", "40P01", "3D000", "28000", "28P01"})
READ_ONLY_STATE = "25006"
_DISK_FULL = "53100"
_SCHEMA_STATES = frozenset({"42P01", "42703"})  # undefined table, undefined column
_SQLITE_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC})
_SQLITE_SCHEMA = ("no such table", "no such column", "has no column named")
_LOCK_TIMEOUT = "55P03"
_DENIED = "42501"
# Of a server that starts or ends, or whose proxy has no server yet. Not 08P01: old poolers say so of a wrong name.
_STARTING_STATES = frozenset({"08000", "08001", "08003", "08006", "57P01", "57P02", "57P03"})
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
_DAMAGED_STATES = frozenset({"XX001", "XX002"})  # data_corrupted, index_corrupted
_SQLITE_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE = 0xFF  # SQLite's extended codes carry the primary one in their low byte


class DatabaseUnavailable(Unavailable):
    """503: the database is down, read-only, full, busy or too slow; the same request may succeed later."""

    detail = "The database cannot serve this now; try again."

    @property
    def connection_lost(self) -> bool:
        """Whether an established connection broke, so that a new one may do."""
        return self.__cause__ is not None and connection_lost(self.__cause__)


class DatabaseDamaged(DatabaseUnavailable):
    """503: something in the database is damaged or lost; an operator has to repair it or restore a backup."""

    code = "database-damaged"
    detail = "The database is damaged: an operator has to repair it or restore a backup."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, retry_after_seconds=DAMAGED_RETRY_SECONDS)


class WritesRefused(DatabaseUnavailable):
    """503: the database responds, but an event written now could be lost."""

    code = "writes-refused"
    detail = "The database does not accept writes that last; try again."


class SchemaBehind(DatabaseUnavailable):
    """503: a table or a column is missing, as after a downgrade under a running service."""

    code = "schema-behind"
    detail = "The schema of the database is not the one this release needs: an operator has to migrate it."


def connection_lost(error: BaseException) -> bool:
    """Whether an established connection broke while it was used."""
    if isinstance(error, InterfaceError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return True
    state = _sqlstate(error)
    if state is None:
        return isinstance(error, InternalError)  # asyncpg's own: the connection ended in the middle of an exchange
    return state.startswith(_LOST_CLASSES)


def plan_outdated(error: BaseException) -> bool:
    """Whether a prepared statement no longer fits its tables; it did nothing; the next attempt prepares it again."""
    original = getattr(error, "orig", None)
    return isinstance(getattr(original, "__cause__", None), asyncpg.InvalidCachedStatementError)


def connection_failed(error: BaseException) -> bool:
    """Whether `error` is the database's own and would meet any statement now."""
    if isinstance(error, StatementError) and isinstance(error.orig, (OSError, TimeoutError, PoolTimeoutError)):
        return True  # it reconnected to repeat a read, in vain
    if isinstance(error, (DatabaseUnavailable, PoolTimeoutError)):
        return True
    if connection_lost(error) or found_damage(error) or plan_outdated(error):
        return True
    state = _sqlstate(error)
    if state is not None:
        return state in _FAILED_STATES or state.startswith(_FAILED_CLASSES)
    return _sqlite_primary_code(error) in _SQLITE_FAILED


def found_damage(error: BaseException) -> bool:
    """Whether the database reports in `error` that it is damaged, or no database."""
    if _sqlstate(error) in _DAMAGED_STATES or _sqlite_primary_code(error) in _SQLITE_DAMAGED:
        return True
    # A page that has to be there is beyond the end of its file, most likely of a WAL that was cut.
    return _sqlite_code(error) == sqlite3.SQLITE_IOERR_SHORT_READ


def ran_out_of_time(error: BaseException) -> bool:
    """Whether `error` is a time-out that the database set for this statement or its locks."""
    return _sqlstate(error) in _TIMEOUT_STATES


def waited_for_lock(error: BaseException) -> bool:
    """Whether `error` is the time-out of a lock that another session holds, which is no fault of the statement."""
    return _sqlstate(error) == _LOCK_TIMEOUT


def may_come_up(error: BaseException | None) -> bool:
    """Whether a database that fails with `error` may only be starting: it refuses, is not resolved, is silent."""
    if isinstance(error, (OSError, TimeoutError)):
        return not isinstance(error, (ssl.SSLError, PermissionError))
    return _sqlstate(error) in _STARTING_STATES


def is_denied(error: BaseException) -> bool:
    """Whether the role lacks the right to do what it tried."""
    return _sqlstate(error) == _DENIED


def _misses_schema(error: BaseException) -> bool:
    if _sqlite_primary_code(error) == sqlite3.SQLITE_ERROR:
        return any(words in str(getattr(error, "orig", None)) for words in _SQLITE_SCHEMA)
    return _sqlstate(error) in _SCHEMA_STATES


def _sqlstate(error: BaseException | None) -> str | None:
    """PostgreSQL's code of an error of SQLAlchemy; None for any other."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _sqlite_code(error: BaseException) -> int | None:
    return getattr(getattr(error, "orig", None), "sqlite_errorcode", None)


def _sqlite_primary_code(error: BaseException) -> int | None:
    code = _sqlite_code(error)
    return None if code is None else code & _PRIMARY_CODE


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn damage into `DatabaseDamaged` and every error that means "not now" into `DatabaseUnavailable`.

    The rest pass as they are.

    Connecting raises the bare errors of the socket.
    """
    try:
        yield
    except DatabaseUnavailable:
        raise
    except Exception as error:
        if found_damage(error):
            raise DatabaseDamaged from error
        if _misses_schema(error):
            raise SchemaBehind from error
        if connection_failed(error) or ran_out_of_time(error) or isinstance(error, (OSError, TimeoutError)):
            raise DatabaseUnavailable from error
        raise


class Writability:
    """The reasons for which writes are refused, each kept under the name of the check that found it.

    Checks call `refuse`, `report_read_only` and `allow` as often as they look; a change is logged once. Appends run in
    `observed`, `/health` reads `reason`. Appends still try what the database itself refuses.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    @property
    def reason(self) -> str | None:
        """One sentence with the reason why writes are refused; None while they are accepted."""
        return next(iter(self._reasons.values()), None)

    @property
    def is_damaged(self) -> bool:
        """Whether the database was found damaged or lost, which only an operator can heal."""
        return DAMAGE in self._reasons

    def refuse(self, check: str, reason: str) -> None:
        """Refuse writes for `reason` until `check` allows them again."""
        if self._reasons.get(check) != reason:
            log.error("writes refused", check=check, reason=reason)
        self._reasons[check] = reason

    def report_read_only(self) -> None:
        self.refuse(READ_ONLY, _READ_ONLY_REASON)

    def allow(self, check: str) -> None:
        """Withdraw the reason that `check` gave, if it gave one."""
        if self._reasons.pop(check, None) is not None:
            log.info("writes accepted again", check=check)

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Report why the write of the block fails if every write would; withdraw that once a write succeeds.

        Raises:
            WritesRefused: there is a reason already that the database does not enforce itself.
        """
        for check, reason in self._reasons.items():
            if check not in _ENFORCED:
                raise WritesRefused(reason)
        try:
            yield
        except Exception as error:
            if _sqlstate(error) == READ_ONLY_STATE or _sqlite_primary_code(error) == sqlite3.SQLITE_READONLY:
                self.report_read_only()
            elif _sqlstate(error) == _DISK_FULL or _sqlite_code(error) in _SQLITE_FULL:
                self.refuse(_DISK, _DISK_REASON)
            raise
        self.allow(READ_ONLY)
        self.allow(_DISK)
