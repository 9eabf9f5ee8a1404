"""What every PostgreSQL session is set to, whatever the server, the database or the role says.

`ALTER SYSTEM` changes the defaults of running sessions, `ALTER DATABASE … SET` and `ALTER ROLE … SET` those of new
sessions. Left as it is: `default_transaction_read_only`, which an operator means (`/health` reports it), and whatever
decides on plans, memory and rights.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Settings

ISOLATION = "READ COMMITTED"  # what is read after a lock has to include what its last holder committed

# PostgreSQL 17 and 14 have brought these; both end connections that our own time-outs leave alone.
_SWITCHED_OFF = ("transaction_timeout", "idle_session_timeout")
# A commit is flushed to disk before it is confirmed; the one value that promises more is kept.
_SYNCHRONOUS_COMMIT = "CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END"


def startup_parameters(settings: Settings) -> dict[str, str]:
    """The settings that a session is opened with, which costs no round trip."""
    return {
        "application_name": "sync-service",
        "default_transaction_isolation": ISOLATION.lower(),
        **_for_statements(settings),
    }


def prepare_sessions(engine: AsyncEngine, settings: Settings) -> None:
    """Set every session of `engine`; behind a transaction pooler, which drops start-up parameters, every transaction.

    The search path that the first connection finds is kept for all: the tables are where they were at the start.
    """
    search_path: str | None = None

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: DBAPIConnection, _record: object) -> None:
        nonlocal search_path
        cursor = connection.cursor()
        cursor.execute(_statement({}, local=False), (search_path,))
        (search_path, *_others) = cursor.fetchone() or (search_path,)
        cursor.close()
        connection.commit()

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
