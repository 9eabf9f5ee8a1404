"""The background of the consistency checks: runs checks and due file checks, schedules full checks, cleans up."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.concurrency.shutdown import wait_for_event, wait_or_cancel
from app.concurrency.task import PeriodicTask, repeating
from app.consistency.check_repository import CheckRepository, CheckRunning, NotDeep, SourceDisabled
from app.consistency.check_runner import CheckRunner
from app.consistency.file_check_repository import FileCheckRepository
from app.consistency.file_checker import FileChecker
from app.consistency.models import Check, CheckState, Source
from app.consistency.schemas import NewCheck
from app.consistency.sources.repository import SourceRepository
from app.consistency.sources.request import BACKGROUND
from app.consistency.sources.schemas import SourceKind
from app.database.engine import Database
from app.errors import NotFound, Unavailable, describe
from app.log.sparing import SparingLog

POLL_SECONDS = 1.0
MAX_CHECKS = 8  # concurrently in one process
QUIET_SECONDS = 30.0  # after a batch of file checks without a response

log = structlog.get_logger(__name__)


class ConsistencyTasks:
    """Runs each check, and the due file checks of each source, in a task of its own: a slow source delays no other."""

    def __init__(
        self,
        database: Database,
        runner: CheckRunner,
        checker: FileChecker,
        *,
        full_interval_seconds: float,
        cloud_url: str,
    ) -> None:
        due = asyncio.Event()
        self._wake = due.set
        self._database = database
        self._runner = runner
        self._checker = checker
        # The microsecond tells the end of a lease from that of a grace period.
        self._file_check_lease = runner.lease + timedelta(microseconds=1)
        self._full_interval = timedelta(seconds=full_interval_seconds)
        self._cloud_url = cloud_url  # until the source is known to exist
        self._log = SparingLog(__name__)
        self._stopping = asyncio.Event()
        self._checks: dict[UUID, asyncio.Task[None]] = {}  # under way, by the id of the check
        self._file_checks: dict[UUID, asyncio.Task[None]] = {}  # by the id of the source
        self._pass = PeriodicTask("consistency", self.run_once, POLL_SECONDS, due)

    def start(self) -> None:
        """Start."""
        self._pass.start()

    async def stop(self, timeout_seconds: float) -> None:
        """Stop claiming, and release the work that is not finished within `timeout_seconds`."""
        self._stopping.set()
        await self._pass.stop(timeout_seconds)
        tasks = [*self._checks.values(), *self._file_checks.values()]
        await asyncio.gather(*(wait_or_cancel(task, timeout_seconds) for task in tasks), return_exceptions=True)

    async def create_check(self, new: NewCheck) -> Check:
        """Add a check, which a pass begins immediately.

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
            now = await self._checker.clock(session)
            check = await CheckRepository(session).add(
                source.id, now, new.scope.file_ids, accept_shrink=new.accept_shrink, deep=new.deep
            )
        self._wake()
        return check

    async def run_once(self, _stopping: asyncio.Event | None = None) -> None:
        """Begin due work, and remove some leftover rows.

        Raises:
            DatabaseUnavailable: the database cannot serve now.
        """
        if self._cloud_url:
            async with self._database.transaction() as session:
                await SourceRepository(session).announce_cloud(self._cloud_url, await self._checker.clock(session))
            self._cloud_url = ""
        async with self._database.read() as session:
            sources = await SourceRepository(session).list_all()
            is_left = await SourceRepository(session).has_deleted() or await CheckRepository(session).has_leftovers()
            now = await self._checker.clock(session)
            due = set(await FileCheckRepository(session).list_due_sources(now))
        for source in (one for one in sources if one.enabled):
            if self._full_interval:
                await self._schedule(source)
            if source.id in due:
                self._begin(self._file_checks, source.id, self._check_due_files(source.id))
        if sources:
            await self._begin_checks()
        if is_left:
            async with self._database.transaction() as session:
                await CheckRepository(session).remove_leftovers() or await SourceRepository(session).remove_some()

    async def settle(self) -> None:
        """Wait until every task has ended that has begun."""
        while tasks := [*self._checks.values(), *self._file_checks.values()]:
            await asyncio.wait(tasks)

    async def _begin_checks(self) -> None:
        free, lease = MAX_CHECKS - len(self._checks), self._runner.lease
        async with self._database.read() as session:
            if free <= 0 or not await CheckRepository(session).has_due(await self._checker.clock(session), lease):
                return
        async with self._database.transaction() as session:
            now = await self._checker.clock(session)
            checks = await CheckRepository(session).claim(now, lease, free)
        for check in checks:
            self._begin(self._checks, check.id, self._runner.run(check, self._stopping))

    def _begin(self, group: dict[UUID, asyncio.Task[None]], key: UUID, work: Coroutine[Any, Any, None]) -> None:
        if key in group or self._stopping.is_set():
            work.close()
            return
        group[key] = task = asyncio.create_task(_logged(work), name="consistency")
        task.add_done_callback(lambda _: group.pop(key, None))

    async def _check_due_files(self, source_id: UUID) -> None:
        while not self._stopping.is_set():
            async with self._database.transaction() as session:
                source = await SourceRepository(session).get(source_id)
                if not source.enabled:
                    return
                now = await self._checker.clock(session)
                until = [now + self._file_check_lease]
                claimed = await FileCheckRepository(session).claim(source.id, now, until[0], self._checker.concurrency)
            if not claimed:
                return
            renew, seconds = partial(self._renew, source.id, claimed, until), self._file_check_lease.total_seconds() / 3
            async with repeating(seconds, renew, self._log, "lease of file checks not extended", source=str(source.id)):
                checked = await self._checker.check(source, claimed, BACKGROUND, until)
            if checked.is_silent:
                await wait_for_event(self._stopping, QUIET_SECONDS)
                return

    async def _renew(self, source_id: UUID, file_ids: Sequence[UUID], until: list[datetime]) -> None:
        """Extend the lease of these file checks; `until` gets each end that it may have."""
        async with self._database.transaction(wait_for_standbys=False) as session:
            before = [*until]
            until.append(await self._checker.clock(session) + self._file_check_lease)
            await FileCheckRepository(session).renew(source_id, file_ids, before, until[-1])

    async def _schedule(self, source: Source) -> None:
        """Begin a check of the whole source when the last one began long enough ago."""
        async with self._database.read() as session:
            if not await self._is_full_check_due(session, source.id):
                return
        with suppress(CheckRunning, NotFound):
            async with self._database.transaction() as session:
                await SourceRepository(session).get(source.id, for_change=True)
                if await self._is_full_check_due(session, source.id):
                    await CheckRepository(session).add(source.id, await self._checker.clock(session))

    async def _is_full_check_due(self, session: AsyncSession, source_id: UUID) -> bool:
        last, now = await CheckRepository(session).find_last(source_id), await self._checker.clock(session)
        if last is None or last.state == CheckState.RUNNING:
            return last is None
        return not now - self._full_interval < last.started_at <= now  # a later one was noted by a clock that was ahead


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except NotFound:
        return  # the source was deleted
    except Unavailable as error:
        log.warning("consistency check postponed", reason=describe(error.__cause__ or error))
    except Exception:
        log.exception("consistency check failed")
