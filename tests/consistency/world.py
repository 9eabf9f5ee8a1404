"""A ledger, an owner and the consistency checks between them, with a clock that a test moves."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.consistency.check_repository import CheckRepository
from app.consistency.file_check_repository import FileCheckHandler
from app.consistency.finding_repository import FindingRepository
from app.consistency.models import Check, FileCheck, Finding
from app.consistency.schemas import Filter, NewCheck
from app.consistency.service import Consistency
from app.consistency.sources.schemas import NewSource
from app.database.engine import Database
from app.files.repository import FileStateHandler
from app.sweep.sweeper import Handler, Sweeper
from tests.consistency.owner import Owner
from tests.events.support import open_ledger, record

GRACE = 300


@dataclass
class ShiftedClock:
    """The time, moved ahead by a test."""

    ahead: timedelta = timedelta(0)

    async def __call__(self, _session: AsyncSession) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


@dataclass
class World:
    """The parts."""

    database: Database
    consistency: Consistency
    owner: Owner
    clock: ShiftedClock
    source: UUID = field(default_factory=uuid4)
    by_event: bool = False  # whether the sweep notes the file of each event

    async def add_source(self, **changes: Any) -> UUID:
        new = {"name": "owner", "kind": "contract", "url": self.owner.url, "grace_seconds": GRACE, **changes}
        self.source = (await self.consistency.sources.create_source(NewSource.model_validate(new))).id
        return self.source

    async def append(self, *events: tuple[UUID, str, dict[str, Any] | None]) -> None:
        """Record events without processing them."""
        records = [
            record(file_id=file_id, event_type=type_, metadata=None if data is None else json.dumps(data))
            for file_id, type_, data in events
        ]
        for start in range(0, len(records), 500):
            await open_ledger(self.database).append(records[start : start + 500])

    async def sweep(self, *others: Handler) -> None:
        """Process them."""
        noting = [FileCheckHandler(self.clock)] if self.by_event else []
        await Sweeper(
            self.database,
            [FileStateHandler(), *noting, *others],
            batch_size=1000,
            max_attempts=100,  # a slow pass may meet the same event several times
            retry_interval=timedelta(milliseconds=50),
        ).run_once()

    async def upload(self, *file_ids: UUID, **metadata: Any) -> None:
        await self.append(*((one, "upload", metadata or None) for one in file_ids))
        await self.sweep()

    async def delete(self, *file_ids: UUID) -> None:
        await self.append(*((one, "delete", None) for one in file_ids))
        await self.sweep()

    async def run(self) -> None:
        """Let the background do what is due."""
        await self.consistency.tasks.run_once()
        await self.consistency.tasks.settle()

    async def begin(self, *file_ids: UUID, **changes: Any) -> UUID:
        scope = {"file_ids": [str(one) for one in file_ids]} if file_ids else {"all": True}
        new = NewCheck.model_validate({"source": str(self.source), "scope": scope, **changes})
        return (await self.consistency.tasks.create_check(new)).id

    async def check(self, *file_ids: UUID, **changes: Any) -> Check:
        """Run a check of the source, or of named files, to its end."""
        check_id = await self.begin(*file_ids, **changes)
        await self.run()
        return await self.read_check(check_id)

    async def read_check(self, check_id: UUID) -> Check:
        async with self.database.read() as session:
            return await CheckRepository(session).get(check_id)

    async def cancel(self, check_id: UUID) -> Check:
        async with self.database.transaction() as session:
            return await CheckRepository(session).cancel(check_id, await self.clock(session))

    async def accept(self, finding_id: UUID) -> None:
        async with self.database.transaction() as session:
            await FindingRepository(session).accept(finding_id, "known")

    async def list_file_checks(self) -> Sequence[FileCheck]:
        async with self.database.read() as session:
            return (await session.scalars(select(FileCheck).order_by(FileCheck.file_id))).all()

    async def findings(self, **wanted: Any) -> list[Finding]:
        async with self.database.read() as session:
            repository = FindingRepository(session)
            return list(await repository.list_newest(Filter(**wanted), limit=10_000, offset=0))

    async def states(self) -> dict[tuple[UUID, str], str]:
        """The state of the newest finding of each file and kind."""
        return {(one.file_id, one.kind): one.state for one in reversed(await self.findings())}

    async def age(self, seconds: float = GRACE + 1) -> None:
        """Let time pass, and let the background do what is due then."""
        self.clock.advance(seconds)
        await self.run()
