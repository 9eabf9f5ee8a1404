"""Fills ledgers without the service, inside PostgreSQL, as the service would have left them."""

from benchmarks.database import PostgresStore

METADATA = '{"path":"reports/1.pdf","size":5242880}'

# Indexes that are not constraints, so they can be made later.
_INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes
     WHERE tablename = 'sync_events' AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""


def create_twin(store: PostgresStore, table: str) -> None:
    """An empty table with the columns, checks and indexes of the ledger's, and its fill factor.

    The sequence `{table}_position` numbers its rows.
    """
    [options] = store.row("SELECT array_to_string(reloptions, ',') FROM pg_class WHERE oid = 'sync_events'::regclass")
    storage = f" WITH ({options})" if options else ""
    store.execute(
        f"CREATE TABLE {table} (LIKE sync_events INCLUDING ALL){storage}", f"CREATE SEQUENCE {table}_position"
    )


def fill_ledger(store: PostgresStore, rows: int, *, processed: bool) -> None:
    """Append `rows` events, each file's upload and after it an update, and bring the statistics up to date.

    `processed` ones are swept: marked, with the states of their files. Into an empty ledger this is quick, since most
    of the indexes are made after the rows.
    """
    [first] = store.row("SELECT position FROM ledger_head")
    indexes = [] if first else store.rows(_INDEXES)
    store.execute(*(f"DROP INDEX {name}" for name, _definition in indexes))
    _append(store, first, rows, processed=processed)
    store.execute(*(definition for _name, definition in indexes), "VACUUM (ANALYZE)")


def append_backlog(store: PostgresStore, rows: int) -> None:
    """Append `rows` unprocessed events."""
    [first] = store.row("SELECT position FROM ledger_head")
    _append(store, first, rows, processed=False)


def _append(store: PostgresStore, first: int, rows: int, *, processed: bool) -> None:
    files = f"generate_series(0, {rows // 2})"
    store.execute(
        f"CREATE UNLOGGED TABLE filling AS SELECT n AS number, gen_random_uuid() AS file_id FROM {files} AS n",  # noqa: S608
        "CREATE INDEX ON filling (number)",
        *_events(first, rows, processed=processed),
        "DROP TABLE filling",
    )


def _events(first: int, rows: int, *, processed: bool) -> list[str]:
    """Every second event is an upload; the one after it updates the file that was uploaded."""
    events = f"""
        INSERT INTO sync_events
               (id, position, file_id, event_type, created_at, metadata, created_by, processed, processed_at)
        SELECT uuidv7(), {first} + n, filling.file_id, CASE WHEN n % 2 = 1 THEN 'upload' ELSE 'update' END,
               now(), '{METADATA}', 'chunker@clients', {processed}, {"now()" if processed else "NULL"}
          FROM generate_series(1, {rows}) AS n JOIN filling ON filling.number = (n - 1) / 2
         ORDER BY n
    """  # noqa: S608 - no input
    head = f"UPDATE ledger_head SET position = {first + rows}, created_at = now()"  # noqa: S608
    files = f"""
        INSERT INTO files (file_id, revision, last_event_id, last_event_type, last_position, updated_at)
        SELECT DISTINCT ON (file_id) file_id, 2, id, event_type, position, created_at
          FROM sync_events WHERE position > {first} ORDER BY file_id, position DESC
    """  # noqa: S608
    cursor = f"UPDATE sweep_cursor SET position = {first + rows}"  # noqa: S608
    return [events, head, *([files, cursor] if processed else [])]


def fill_files(store: PostgresStore, files: int) -> None:
    """Into an empty ledger: the files 1, 2, 3, … were uploaded in random order, each with its number as its size."""
    file_id = "lpad(to_hex(n), 32, '0')::uuid"
    indexes = store.rows(_INDEXES)
    store.execute(
        *(f"DROP INDEX {name}" for name, _definition in indexes),
        f"""
        INSERT INTO sync_events
               (id, position, file_id, event_type, created_at, metadata, created_by, processed, processed_at)
        SELECT uuidv7(), row_number() OVER (ORDER BY md5(n::text)), {file_id}, 'upload', now(),
               json_build_object('path', 'reports/' || n || '.pdf', 'size', n), 'chunker@clients', TRUE, now()
          FROM generate_series(1, {files}) AS n ORDER BY 2
        """,  # noqa: S608 - no input
        f"UPDATE ledger_head SET position = {files}, created_at = now()",  # noqa: S608
        f"UPDATE sweep_cursor SET position = {files}",  # noqa: S608
        """
        INSERT INTO files (file_id, revision, last_event_id, last_event_type, last_position, updated_at)
        SELECT file_id, 1, id, event_type, position, created_at FROM sync_events
        """,
        *(definition for _name, definition in indexes),
        "VACUUM (ANALYZE)",
    )
