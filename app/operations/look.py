"""One look at the database: does it respond, how does the ledger stand, which revision is the schema of."""

from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.database.errors import DatabaseUnavailable, SchemaBehind
from app.database.prober import Prober
from app.errors import Unavailable, describe
from app.operations.repository import LedgerStatus, SchemaRepository, StatusRepository

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What the database says. `status` is None while the ledger cannot be read, although the database responds."""

    connected: bool
    status: LedgerStatus | None = None
    revision: str | None = None


NO_RESPONSE = Look(connected=False)


async def look_at(prober: Prober) -> Look:
    """Look once, or twice when the connection was cut: one cut connection is no outage."""
    for is_last in (False, True):
        try:
            return await _look_once(prober)
        except DatabaseUnavailable as error:
            if is_last or not error.connection_lost:
                log.debug("the database does not respond", reason=describe(error.__cause__ or error))
                break
    return NO_RESPONSE


async def _look_once(prober: Prober) -> Look:
    try:
        async with prober.connection() as connection:
            status = await StatusRepository(connection).get_status()
            return Look(connected=True, status=status, revision=status.schema_revision)
    except (Unavailable, SQLAlchemyError) as error:
        if isinstance(error, DatabaseUnavailable) and not isinstance(error, SchemaBehind):
            raise
        log.debug("the ledger cannot be read", reason=describe(error.__cause__ or error))
    try:
        async with prober.connection() as connection:
            return Look(connected=True, revision=await SchemaRepository(connection).find_revision())
    except SchemaBehind:
        return Look(connected=True)
