"""A primary and its synchronous standby, both real."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.postgres import PostgresServer

NAME = "standby"
DEADLINE_SECONDS = 20


WAITING = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


class ReplicatedPostgres:
    """A primary whose commits wait for one standby."""

    def __init__(self, version: int = 18) -> None:
        self.primary = PostgresServer(version)
        self.primary.start()
        self.standby = PostgresServer(version, primary=self.primary)
        self.start_standby()
        self.require_standby(NAME)

    def start_standby(self) -> None:
        """Start the standby, and return once it streams."""
        self.standby.start(f"cluster_name={NAME}")
        self.wait_for("SELECT application_name, state FROM pg_stat_replication", f"{NAME}|streaming")

    def require_standby(self, names: str) -> None:
        """Have commits wait for these standbys; an empty text for none."""
        self.primary.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.primary.sql("SELECT pg_reload_conf()")
        self.wait_for("SHOW synchronous_standby_names", names)

    @contextmanager
    def without_standby(self) -> Iterator[None]:
        """The standby is down while the block runs."""
        self.standby.kill()
        try:
            yield
        finally:
            self.start_standby()

    def count_waits(self) -> int:
        """How many backends of the primary wait for the standby."""
        return int(self.primary.sql(f"SELECT count(*) {WAITING}"))

    def cancel_waits(self) -> None:
        """Cancel what waits for the standby, as an operator might."""
        self.primary.sql(f"SELECT pg_cancel_backend(pid) {WAITING}")

    def terminate_waits(self) -> None:
        """Terminate what waits for the standby."""
        self.primary.sql(f"SELECT pg_terminate_backend(pid) {WAITING}")

    def wait_until_received(self) -> None:
        """Return once the standby has everything."""
        self.wait_for("SELECT replay_lsn >= pg_current_wal_lsn() FROM pg_stat_replication", "t")

    def promote_standby(self) -> None:
        """Lose the primary for good, and make the standby, which may be down, the primary of what it has."""
        self.primary.kill()
        self.standby.kill()
        self.standby.start()
        self.standby.sql("SELECT pg_promote()")

    def wait_for(self, query: str, result: str) -> None:
        """Return once `query` gives `result` on the primary."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (found := self.primary.sql(query)) != result:
            if time.monotonic() > deadline:
                waiting = self.primary.sql(
                    "SELECT string_agg(query, '; ') FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                )
                raise RuntimeError(f"{query} gives {found}; waiting: {waiting}")
            time.sleep(0.02)

    def remove(self) -> None:
        """Stop and delete both."""
        for server in (self.standby, self.primary):
            server.kill()
            server.remove()
