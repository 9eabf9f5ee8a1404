"""What faults happen to: a database server behind a relay, or a SQLite file, replicas, and the clock of one of them."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.chaos import is_long
from tests.support.postgres import PostgresServer
from tests.support.process import SERVE, ServiceProcess
from tests.support.receiver import KEY
from tests.support.relay import Relay
from tests.support.tokens import TokenFactory

LEASE_SECONDS = 2
ENVIRONMENT = {
    "CHANGES_KEEP_ALIVE": "1",
    "DATABASE_CONNECT_TIMEOUT": "2",
    "DATABASE_LOCK_TIMEOUT": "2",
    "DATABASE_POOL_SIZE": "8",
    "DATABASE_MAX_OVERFLOW": "0",
    "DATABASE_POOL_TIMEOUT": "2",
    "DATABASE_STATEMENT_TIMEOUT": "2",
    "SYNC_EVENT_PROCESS_INTERVAL": "0.2",
    "WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true",
    "WEBHOOK_ENCRYPTION_KEYS": KEY,
    "WEBHOOK_LEASE": str(LEASE_SECONDS),
    "WEBHOOK_POLL_INTERVAL": "0.2",
    "WEBHOOK_PORTS": "0",
    "WEBHOOK_RETRY_INTERVAL": "0.2",
    "WEBHOOK_TIMEOUT": "1",
}
if not is_long():
    ENVIRONMENT |= {
        "DATABASE_IDLE_TRANSACTION_TIMEOUT": "2",  # sessions that were cut off in a transaction end soon
        "WEBHOOK_TIMEOUT": "5",  # the tests beside this one may have the machine
    }

Begin = Callable[..., ServiceProcess]


def find_faketime() -> Path | None:
    """The library that gives a process another time of day.

    Raises:
        RuntimeError: in CI, where nothing may be left out.
    """
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if found is None and os.environ.get("CI"):
        raise RuntimeError("libfaketime is missing")
    return found


@dataclass
class World:
    """Replicas, and what they depend on. `server` and `relay` are those of PostgreSQL, `file` is that of SQLite."""

    begin: Begin
    folder: Path
    tokens: TokenFactory
    server: PostgresServer | None = None
    relay: Relay | None = None
    file: Path | None = None
    replicas: list[ServiceProcess] = field(default_factory=list)

    def choose(self) -> str:
        """The URL of some replica."""
        return random.choice(self.replicas).url  # noqa: S311 - no secret

    @property
    def clock(self) -> Path:
        """The file that says how far the clock of the first replica is off."""
        return self.folder / "clock"

    def start(self, number: int) -> None:
        """Start replicas, the first with a clock of its own where that is possible."""
        self.set_clock(0)
        faketime = find_faketime()
        for place in range(number):
            own_clock = {
                "LD_PRELOAD": str(faketime),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
            if place == 0 and faketime:
                self.replicas.append(self.begin(*SERVE, **ENVIRONMENT, **own_clock))
            else:
                self.replicas.append(self.begin(**ENVIRONMENT))
        for replica in self.replicas:
            replica.wait_until_healthy()

    def replace(self, place: int) -> None:
        """Kill a replica, and start another in its place."""
        self.replicas[place].kill()
        self.replicas[place] = self.begin(**ENVIRONMENT)
        self.replicas[place].wait_until_healthy()

    def set_clock(self, ahead_seconds: int) -> None:
        """Set the clock of the first replica."""
        new = self.clock.with_suffix(".new")
        new.write_text(f"{ahead_seconds:+d}\n")
        new.rename(self.clock)
