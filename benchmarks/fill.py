"""Fills ledgers without the service, inside PostgreSQL, as the service would have left them."""

from benchmarks.database import PostgresStore

TYPES_OF_A_FILE = 2  # an upload, and later an update
METADATA = '{"path":"reports/1.pdf","size":5242880}'


def create_twin(store: PostgresStore, table: str) -> None:
    """An empty table with the columns, checks and indexes of the ledger's, and its fill factor."""
    [options] = store.row("SELECT array_to_string(reloptions, ',') FROM pg_class WHERE oid = 'sync_events'::regclass")
    storage = f" WITH ({options})" if options else ""
    store.execute(f"CREATE TABLE {table} (LIKE sync_events INCLUDING ALL){storage}")


def fill_ledger(store: PostgresStore, rows: int, *, processed: bool) -> None:
    """Append `rows` events, each file's upload and some way after it an update, and bring the statistics up to date.

    `processed` ones are swept: marked, with the states of their files.
    """
    [first] = store.row("SELECT position FROM ledger_head")
    store.execute(
        "DROP TABLE IF EXISTS filling",
        f"CREATE UNLOGGED TABLE filling AS SELECT number, gen_random_uuid() AS file_id"  # noqa: S608 - no input
        f" FROM generate_series(0, {rows // TYPES_OF_A_FILE + 1}) AS number",
        "CREATE INDEX ON filling (number)",
    )
    store.execute(*_events(first, rows, processed=processed), "DROP TABLE filling", "VACUUM (ANALYZE)")


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
        SELECT DISTINCT ON (file_id) file_id, {TYPES_OF_A_FILE}, id, event_type, position, created_at
          FROM sync_events WHERE position > {first} ORDER BY file_id, position DESC
    """  # noqa: S608
    cursor = f"UPDATE sweep_cursor SET position = {first + rows}"  # noqa: S608
    return [events, head, *([files, cursor] if processed else [])]
