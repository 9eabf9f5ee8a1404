"""Checks and findings as operators manage them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from app.consistency.check_repository import CheckRepository
from app.consistency.errors import NotDeep, SourceDisabled
from app.consistency.finding_repository import FindingFilter, FindingRepository
from app.consistency.look import Looker
from app.consistency.models import Check, CheckState, Finding
from app.consistency.schemas import NewCheck
from app.consistency.sources.repository import SourceRepository
from app.consistency.sources.schemas import SourceKind
from app.database.engine import Database


def new_check(
    source_id: UUID,
    now: datetime,
    file_ids: Sequence[UUID] | None = None,
    *,
    accept_shrink: bool = False,
    deep: str | None = None,
) -> Check:
    """A check that has not begun: by inventory, or of named files."""
    named = None if file_ids is None else sorted({str(one) for one in file_ids})
    return Check(
        id=uuid7(),
        source_id=source_id,
        state=CheckState.RUNNING,
        file_ids=named,
        total=None if named is None else len(named),
        accept_shrink=accept_shrink,
        deep=deep,
        started_at=now,
        due_at=now,
        counts={},
    )


class ConsistencyService:
    """Each call is one transaction; no question to a source is asked inside it."""

    def __init__(self, database: Database, looker: Looker, *, on_added: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._looker = looker
        self._on_added = on_added

    async def create_check(self, new: NewCheck) -> Check:
        """Add a check for the background to run.

        Raises:
            NotFound: 404.
            NotDeep: 422.
            SourceDisabled, CheckRunning: 409.
        """
        async with self._database.transaction() as session:
            source = await SourceRepository(session).get(new.source, for_change=True)
            if not source.enabled:
                raise SourceDisabled
            if new.deep is not None and source.kind != SourceKind.CLOUD:
                raise NotDeep
            now = await self._looker.clock(session)
            check = new_check(source.id, now, new.scope.file_ids, accept_shrink=new.accept_shrink, deep=new.deep)
            await CheckRepository(session).add(check)
        self._on_added()
        return check

    async def cancel_check(self, check_id: UUID) -> Check:
        """Cancel a running check.

        Raises:
            NotFound: 404.
            CheckEnded: 409.
        """
        async with self._database.transaction() as session:
            return await CheckRepository(session).cancel(check_id, await self._looker.clock(session))

    async def accept(self, finding_id: UUID, reason: str) -> Finding:
        """Accept a suspected or open finding.

        Raises:
            NotFound: 404.
            NotAcceptable: 409.
        """
        async with self._database.transaction() as session:
            await SourceRepository(session).lock_all()
            return await FindingRepository(session).accept(finding_id, reason)

    async def accept_all(self, wanted: FindingFilter, expected: int, reason: str) -> None:
        """Accept `expected` findings.

        Raises:
            OtherCount: 409.
        """
        async with self._database.transaction() as session:
            await SourceRepository(session).lock_all()
            await FindingRepository(session).accept_all(wanted, expected, reason)
