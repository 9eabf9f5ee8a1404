"""Opens connections with fixed settings, whatever the defaults of the server, the database or the role.

`ALTER SYSTEM` changes the defaults of running sessions, `ALTER DATABASE … SET` and `ALTER ROLE … SET` those of new
sessions. Left alone are `default_transaction_read_only`, which an operator sets on purpose (`/health` reports it), and
settings of plans, memory and rights.
"""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog
from sqlalchemy import Connection, CursorResult, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app.config import Settings
from app.database.errors import READ_ONLY_STATE, DatabaseUnavailable, connection_lost, plan_outdated
from app.database.sqlite_file import UnlockingConnection
from app.errors import describe

log = structlog.get_logger(__name__)

BEGIN = "sqlite_begin"  # the execution option that names the statement with which SQLite begins a transaction
CLOSE_SECONDS = 2
ISOLATION = "READ COMMITTED"  # a read after a lock includes what the last holder committed
WAL_LIMIT_BYTES = 16 * 1024 * 1024  # four times what SQLite itself lets it grow to before it writes it into the file

_USED = "sync-service: used"
# A peer that has vanished is noticed after 20 seconds without traffic, and 5 after a statement was sent to it.
_KEEP_ALIVE = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 5000}
_RECYCLE_SECONDS = 1800  # new connections have new plans, and are spread over the servers again behind one name
# From PostgreSQL 17 and 14; both end connections that our own time-outs leave alone.
_SWITCHED_OFF = ("transaction_timeout", "idle_session_timeout")
# A commit is flushed to disk before it is confirmed; the one value that promises more is kept.
_SYNCHRONOUS_COMMIT = "CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END"


class CommitUncertain(DatabaseUnavailable):
    """503: the transaction is committed on the primary, and may be missing on its standbys."""


class ClosableConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """While `closes` is set, it is closed where asyncpg sends a cancel: at a time-out or when a task is cancelled.

    A cancel that meets a commit in its wait for a synchronous standby ends the wait and leaves the commit on the
    primary alone, visible to everybody, and PostgreSQL reports success with no more than a warning.
    """

    closes = False
    warnings = 0

    def watch(self, socket_options: Mapping[str, int]) -> None:
        """Count warnings from now on, and have the kernel look for a peer that has vanished."""
        self.add_log_listener(_count_warning)
        peer = self._transport.get_extra_info("socket")
        if peer is not None and peer.family in (socket.AF_INET, socket.AF_INET6):
            for name, value in {**_KEEP_ALIVE, **socket_options}.items():
                if hasattr(socket, name):
                    level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
                    peer.setsockopt(level, getattr(socket, name), value)

    def _cancel_current_command(self, waiter: Any, cancel_waiter: Any = None) -> None:
        if self.closes:
            self._loop.call_soon(self.terminate)  # asyncpg still has to report the time-out to its caller
        else:
            super()._cancel_current_command(waiter, cancel_waiter)


def _count_warning(connection: ClosableConnection, message: asyncpg.PostgresLogMessage) -> None:
    if message.severity_en == "WARNING":
        connection.warnings += 1


@asynccontextmanager
async def never_cancelled(connection: AsyncConnection) -> AsyncIterator[None]:
    """Run the block with its commit, and close the connection rather than send a cancel. SQLite is left alone.

    Raises:
        CommitUncertain: when PostgreSQL warned, as it does when the wait for a standby was cancelled.
    """
    driver = (await connection.get_raw_connection()).driver_connection
    if not isinstance(driver, ClosableConnection):
        yield
        return
    driver.closes, driver.warnings = True, 0
    try:
        yield
    finally:
        driver.closes = False
        if driver.is_closed():
            await connection.invalidate()
    if driver.warnings:
        raise CommitUncertain


class ReadConnection(Connection):
    """Repeats a statement once when its connection was cut or its plan is out of date.

    Only for reads, each a transaction of its own: a write may already be committed.
    """

    def execute(self, *args: Any, **options: Any) -> CursorResult[Any]:
        try:
            return super().execute(*args, **options)
        except DBAPIError as error:
            if not connection_lost(error) and not plan_outdated(error):
                raise
            log.info("read repeated", reason=describe(error))
            if connection_lost(error):
                self.invalidate(error)
            self.rollback()
            return super().execute(*args, **options)

    def scalar(self, *args: Any, **options: Any) -> Any:
        return self.execute(*args, **options).scalar()


def create_engine(settings: Settings) -> AsyncEngine:
    """Build the engine that `settings` ask for; no connection is opened yet."""
    target = settings.database
    sqlite_args = {"timeout": settings.database_lock_timeout, "isolation_level": None, "factory": UnlockingConnection}
    engine = create_async_engine(
        target.url,
        connect_args=sqlite_args if target.is_sqlite else _postgresql_arguments(settings),
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_max_overflow,
        pool_timeout=settings.database_pool_timeout,
        pool_use_lifo=True,
        hide_parameters=True,
        **({} if target.is_sqlite else {"isolation_level": ISOLATION, "pool_recycle": _RECYCLE_SECONDS}),
    )
    if target.is_sqlite:
        _prepare_sqlite(engine, settings)
    else:
        _prepare_postgresql(engine, settings)
    event.listen(engine.sync_engine, "handle_error", _treat_read_only_as_lost)
    event.listen(engine.sync_engine, "handle_error", _forget_values)
    return engine


def _postgresql_arguments(settings: Settings) -> dict[str, Any]:
    of_url = settings.database.connect_args
    arguments: dict[str, Any] = {
        **of_url,
        "connection_class": ClosableConnection,
        "timeout": min(settings.database_connect_timeout, of_url.get("timeout", settings.database_connect_timeout)),
        # The server's own time-out fires first; this one is for a server that no longer responds.
        "command_timeout": settings.database_statement_timeout + 1,
    }
    if not settings.database_prepared_statements:
        # PgBouncer hands each transaction another server connection, and refuses unknown start-up parameters.
        return arguments | {
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            # Without a name each replaces the one before: to close others would reach another server connection.
            "prepared_statement_name_func": str,
        }
    return arguments | {"server_settings": _startup_parameters(settings) | of_url.get("server_settings", {})}


def _prepare_sqlite(engine: AsyncEngine, settings: Settings) -> None:
    """WAL and full synchronisation on every connection, and an explicit BEGIN of the right kind."""

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {int(settings.database_lock_timeout * 1000)}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            f"journal_size_limit = {WAL_LIMIT_BYTES}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        if statement := connection.get_execution_options().get(BEGIN, "BEGIN"):
            connection.exec_driver_sql(statement)


def _treat_read_only_as_lost(context: ExceptionContext) -> None:
    # After a failover the pool still holds connections to the old primary, now a read-only standby.
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY_STATE:
        context.is_disconnect = True


def _forget_values(context: ExceptionContext) -> None:
    # PostgreSQL's DETAIL of a violated constraint is the row, and a log line of the error would have it.
    original = context.original_exception
    for error in (original, original.__cause__):
        if getattr(error, "detail", None) is not None:
            error.detail = None  # type: ignore[union-attr]  # an error of asyncpg, or SQLAlchemy's copy of it


def _startup_parameters(settings: Settings) -> dict[str, str]:
    """The settings that a session is opened with, which costs no round trip."""
    return {
        "application_name": "sync-service",
        "default_transaction_isolation": ISOLATION.lower(),
        # The server too notices after 20 seconds that a client has vanished. In the middle of an exchange neither the
        # time-out of statements nor that of idle transactions would end the session, and its locks would stay.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "2",
        "tcp_user_timeout": "20000",
        **_for_statements(settings),
    }


def _prepare_postgresql(engine: AsyncEngine, settings: Settings) -> None:
    """Set every session of `engine`; behind a transaction pooler, which drops start-up parameters, every transaction.

    The search path that the first connection finds is kept for all: the tables are where they were at the start.
    """
    search_path: str | None = None
    socket_options = settings.database.socket_options

    @event.listens_for(engine.sync_engine, "do_connect")
    def _connect(dialect: Any, _record: object, arguments: Any, options: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*arguments, **options)
        except TimeoutError:  # asyncpg's says nothing
            where = f"{options.get('host', 'localhost')}, port {options.get('port', 5432)}"
            raise TimeoutError(f"the server at {where} did not respond within {options['timeout']:g} s") from None

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: DBAPIConnection, _record: object) -> None:
        nonlocal search_path
        driver: ClosableConnection = connection.driver_connection
        driver.watch(socket_options)
        cursor = connection.cursor()
        cursor.execute(_statement({}, local=False), (search_path,))
        (search_path, *_others) = cursor.fetchone() or (search_path,)
        cursor.close()
        connection.commit()

    @event.listens_for(engine.sync_engine, "checkout")
    def _taken(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        # A new one that is closed already is left to its first statement: the pool gives up after two in a row.
        if connection.driver_connection.is_closed() and record.info.get(_USED):
            raise DisconnectionError("the connection was cut while it was idle")
        record.info[_USED] = True

    if settings.database_prepared_statements:
        return
    statement = _statement(_for_statements(settings), local=True)

    @event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(statement, (search_path,))


def _for_statements(settings: Settings) -> dict[str, str]:
    """What statements rely on, and PostgreSQL's own time-outs in milliseconds, by the name of the setting."""
    seconds = {
        "statement_timeout": settings.database_statement_timeout,
        "lock_timeout": settings.database_lock_timeout,
        "idle_in_transaction_session_timeout": settings.database_idle_transaction_timeout,
    }
    timeouts = {name: str(int(value * 1000)) for name, value in seconds.items()}
    return {"timezone": "UTC", "standard_conforming_strings": "on", **timeouts}


def _statement(values: Mapping[str, str], *, local: bool) -> str:
    """Set `values` and what depends on the server, for the session or, when `local`, for the transaction.

    Takes the search path to keep, or null for the one that is there, and returns it.
    """
    scope = str(local).lower()
    return ", ".join(
        (
            f"SELECT set_config('search_path', coalesce($1, current_setting('search_path')), {scope})",
            f"set_config('synchronous_commit', {_SYNCHRONOUS_COMMIT}, {scope})",
            *(f"set_config('{name}', '{value}', {scope})" for name, value in values.items()),
            *(
                f"CASE WHEN current_setting('{name}', true) IS NOT NULL THEN set_config('{name}', '0', {scope}) END"
                for name in _SWITCHED_OFF
            ),
        )
    )
