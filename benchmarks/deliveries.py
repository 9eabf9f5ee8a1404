"""Subscriptions and deliveries made without the service, inside PostgreSQL, as the service would have left them."""

from uuid import UUID, uuid4

from app.outbound.secret import SecretCipher
from benchmarks.database import PostgresStore

KEY = "key-of-the-benchmarks-with-32-characters"
SECRET = "whsec_c2VjcmV0IG9mIHRoZSBiZW5jaG1hcmtz"  # noqa: S105 - used only here
SETTINGS = {"WEBHOOK_ENCRYPTION_KEYS": KEY, "WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true", "WEBHOOK_PORTS": "0"}


def add_subscription(store: PostgresStore, url: str, *, max_concurrency: int, status: str = "active") -> UUID:
    """A subscription to all events from now on."""
    subscription_id, secret = uuid4(), SecretCipher([KEY]).encrypt(SECRET).hex()
    store.execute(
        f"""
        INSERT INTO subscriptions (id, url, description, event_types, ordering, max_concurrency, status, created_at,
                                   created_by, updated_at, version, secret, start_position, live, cursor)
        SELECT '{subscription_id}', '{url}', '', 'upload update delete', 'per_file', {max_concurrency}, '{status}',
               now(), 'bench', now(), 1, '\\x{secret}', position, {status == "active"}, position
          FROM ledger_head
        """  # noqa: S608 - no input
    )
    return subscription_id


def add_deliveries(store: PostgresStore, subscription_id: UUID, rows: int) -> None:
    """A pending delivery of each of the newest `rows` events; of each file the first one is due."""
    store.execute(
        f"""
        INSERT INTO deliveries (subscription_id, position, file_id, status, due_at, created_at)
        SELECT '{subscription_id}', position, file_id, 'pending',
               CASE row_number() OVER (PARTITION BY file_id ORDER BY position) WHEN 1 THEN now() END, now()
          FROM sync_events WHERE position > (SELECT position - {rows} FROM ledger_head)
        """,  # noqa: S608
        "VACUUM (ANALYZE) deliveries",
    )


def set_status(store: PostgresStore, subscription_id: UUID, status: str) -> None:
    """Whether the subscription is active."""
    store.execute(f"UPDATE subscriptions SET status = '{status}' WHERE id = '{subscription_id}'")  # noqa: S608
