"""Refuses at start a PostgreSQL database that would fail requests later."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database

# What the statements of this release need, each right as PostgreSQL calls it. More rights do no harm; an operator who
# wants the ledger to be append-only for the service grants no more.
_EVERYTHING = ("SELECT", "INSERT", "UPDATE", "DELETE")
NEEDED_RIGHTS: dict[str, tuple[str, ...]] = {
    "alembic_version": ("SELECT",),
    "sync_events": ("SELECT", "INSERT", "UPDATE"),
    "ledger_head": ("SELECT", "UPDATE"),
    "ledger_identity": ("SELECT",),
    "sweep_cursor": ("SELECT", "UPDATE"),
    "files": ("SELECT", "INSERT", "UPDATE"),
    "subscriptions": _EVERYTHING,
    "deliveries": _EVERYTHING,
    "full_lanes": _EVERYTHING,
    "delivery_attempts": ("SELECT", "INSERT", "DELETE"),
}
_ENCODING = "UTF8"

_MISSING_RIGHTS = text(
    """
    SELECT needed.name, string_agg(needed.right, ', ' ORDER BY needed.ordinal) AS rights
      FROM unnest(CAST(:names AS text[]), CAST(:rights AS text[])) WITH ORDINALITY AS needed (name, "right", ordinal)
     WHERE NOT has_table_privilege(to_regclass(needed.name), needed.right)
     GROUP BY needed.name
     ORDER BY min(needed.ordinal)
    """
)


class DatabaseUnfit(Exception):
    """The database can be reached, but the service could not do its work in it."""


async def check_fitness(database: Database) -> None:
    """Make sure that PostgreSQL stores every character, and that our role may do what the service does.

    Tables that do not exist yet are no concern of this check.

    Raises:
        DatabaseUnfit: in one sentence, with what to do.
    """
    if database.is_sqlite:
        return
    async with database.read() as session:
        await _check_encoding(session)
        await _check_rights(session)


async def _check_encoding(session: AsyncSession) -> None:
    encoding = await session.scalar(text("SELECT current_setting('server_encoding')"))
    if encoding != _ENCODING:
        raise DatabaseUnfit(
            f"the database stores {encoding}, which lacks characters that events may have: "
            f"make one with `createdb --encoding={_ENCODING} --template=template0`"
        )


async def _check_rights(session: AsyncSession) -> None:
    role = await session.scalar(text("SELECT current_user"))
    if await session.scalar(text("SELECT current_schema()")) is None:
        raise DatabaseUnfit(f"the role {role} may not use any schema of its search_path: GRANT USAGE ON SCHEMA")
    pairs = [(name, right) for name, rights in NEEDED_RIGHTS.items() for right in rights]
    names, rights = zip(*pairs, strict=True)
    missing = (await session.execute(_MISSING_RIGHTS, {"names": list(names), "rights": list(rights)})).all()
    if missing:
        grants = "; ".join(f"GRANT {rights} ON {name} TO {role}" for name, rights in missing)
        raise DatabaseUnfit(f"the role {role} lacks rights that the service needs: {grants}")
