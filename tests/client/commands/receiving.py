"""A running `receive`, and events that are delivered to it."""

import os
import re
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from app.deliveries.message import CONTENT_TYPE, event_body
from app.deliveries.policy import classify
from app.outbound.client import OutboundClient
from app.outbound.secret import new_secret, signed_headers
from app.subscriptions.models import Outcome
from tests.support.fork_server import ForkServer
from tests.support.waiting import until

DEADLINE_SECONDS = 60
LEDGER = uuid4()
SECRET = new_secret()


class Row(NamedTuple):
    """An event of the ledger."""

    id: UUID
    position: int = 42
    file_id: UUID = UUID("01980000-0000-7000-8000-00000000000f")
    event_type: str = "upload"
    created_at: datetime = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
    created_by: str = "chunker@clients"
    event_metadata: dict[str, Any] | None = None


class Receiving:
    """A running `receive`; its output is collected in files."""

    def __init__(self, fork_server: ForkServer, folder: Path, *arguments: str, **variables: str) -> None:
        self._output, self._errors = folder / f"{uuid4()}.out", folder / f"{uuid4()}.err"
        environment = {key: value for key, value in os.environ.items() if key != "SYNC_WEBHOOK_SECRET"}
        command = ("app", "receive", "--port", "0", *arguments)
        self.process = fork_server.start(command, {**environment, **variables}, self._output, self._errors)

    async def url(self) -> str:
        """Where it listens, once it does."""
        await until(lambda: "listening" in self.errors(), DEADLINE_SECONDS)
        return read_address(self.errors())

    def lines(self) -> list[str]:
        return self._output.read_text().splitlines()

    def errors(self) -> str:
        return self._errors.read_text()

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """Do what Ctrl-C does, and return the exit status."""
        self.process.send_signal(how)
        return self.process.wait(DEADLINE_SECONDS)


def read_address(errors: str) -> str:
    found = re.search(r"http://\S+/", errors)
    assert found
    return found[0]


async def deliver(
    sender: OutboundClient, url: str, row: Row, secret: str = SECRET, at: datetime | None = None
) -> Outcome:
    body = event_body(row, LEDGER)
    headers = signed_headers(str(row.id), at or datetime.now(UTC), body, [secret])
    return classify(await sender.send(url, {"content-type": CONTENT_TYPE, **headers}, body))
