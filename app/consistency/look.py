"""Looks at single files: asks the source, compares with the ledger, and brings the findings up to date."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.concurrency.single_flight import SingleFlight
from app.consistency.comparison import Facts, compare
from app.consistency.finding_repository import FindingRepository, Seen
from app.consistency.ledger_repository import AsOf, LedgerFile, LedgerRepository
from app.consistency.models import Source, Verdict
from app.consistency.sources.contract import REFRESH, Address, ContractClient, Look, Patience, SourceError
from app.consistency.sources.repository import SourceRepository
from app.database.engine import Database
from app.outbound.secret import EncryptionKeyMissing, NoEncryptionKey, SecretCipher

Clock = Callable[[AsyncSession], Awaitable[datetime]]


async def database_clock(session: AsyncSession) -> datetime:
    """The clock of all due times, leases and grace periods."""
    return await LedgerRepository(session).get_now()


class Looked(NamedTuple):
    """The result of a look at some files of a source, as of `position`."""

    seen: Sequence[Seen]
    position: int


class Looker:
    """Looks at files, a few at once for each source."""

    def __init__(
        self,
        database: Database,
        client: ContractClient,
        cipher: SecretCipher,
        *,
        concurrency: int,
        clock: Clock = database_clock,
    ) -> None:
        self._database = database
        self._client = client
        self._cipher = cipher
        self._permits: defaultdict[UUID, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(concurrency))
        self._refreshes: SingleFlight[tuple[UUID, UUID], Looked] = SingleFlight("consistency-refresh")
        self.clock = clock

    def address(self, source: Source) -> Address:
        """Where the source is asked.

        Raises:
            SourceError: no key decrypts its headers.
        """
        try:
            headers = json.loads(self._cipher.decrypt(source.headers)) if source.headers is not None else {}
        except (NoEncryptionKey, EncryptionKeyMissing):
            raise SourceError("cannot be asked: the key that its headers are encrypted with is not set") from None
        return Address(source.url, headers)

    async def refresh(self, source: Source, file_id: UUID) -> Seen:
        """Look at one file now; calls for the same file at the same time share one look."""
        look = partial(self.look, source, [file_id], REFRESH)
        [seen] = (await self._refreshes.run((source.id, file_id), look)).seen
        return seen

    async def look(
        self, source: Source, file_ids: Sequence[UUID], patience: Patience, claimed_until: datetime | None = None
    ) -> Looked:
        """Look at the files and record what was seen. Once the source does not respond, the rest is not asked.

        Raises:
            NotFound: the source was deleted.
            DatabaseUnavailable: the database cannot serve now.
        """
        durable = await self._database.watermark.bound()
        async with self._database.read() as session:
            position, now = await LedgerRepository(session).get_position(durable), await self.clock(session)
        responses = _Responses()
        looks = await asyncio.gather(*(self._ask(source, one, patience, responses) for one in file_ids))
        grace = timedelta(seconds=source.grace_seconds)
        async with self._database.read() as session:
            groups: defaultdict[AsOf, dict[UUID, Look]] = defaultdict(dict)
            for file_id, look in zip(file_ids, looks, strict=True):
                if isinstance(look, Look):
                    groups[AsOf.of(position, look.watermark, now, grace)][file_id] = look
            seen = [
                Seen(file_id, Verdict.UNKNOWN, None, reason=str(look))
                for file_id, look in zip(file_ids, looks, strict=True)
                if isinstance(look, SourceError)
            ]
            for as_of, group in groups.items():
                found = {one: look.found for one, look in group.items() if look.found is not None}
                files = await LedgerRepository(session).read(as_of, group.keys(), found)
                seen += [_judge(one, files[one], look.found) for one, look in group.items()]
        await self._record(source.id, seen, now, claimed_until)
        return Looked(seen, min((as_of.position for as_of in groups), default=position))

    def close(self) -> None:
        """Cancel every refresh."""
        self._refreshes.close()

    async def _ask(
        self, source: Source, file_id: UUID, patience: Patience, responses: "_Responses"
    ) -> Look | SourceError:
        try:
            async with asyncio.timeout(patience.seconds if patience is REFRESH else None), self._permits[source.id]:
                if responses.ended:
                    return SourceError("does not respond", unanswered=True)
                before = responses.count
                try:
                    look = await self._client.look(self.address(source), file_id, patience)
                except SourceError as error:
                    if error.unanswered and responses.count == before:
                        responses.ended = True
                    return error
                responses.count += 1
                return look
        except TimeoutError:
            return SourceError("has too many questions to respond to at once", unanswered=True)

    async def _record(
        self, source_id: UUID, seen: Sequence[Seen], asked_at: datetime, claimed_until: datetime | None
    ) -> None:
        async with self._database.transaction() as session:
            source = await SourceRepository(session).get(source_id, for_change=True)
            await FindingRepository(session).record_looks(source, seen, asked_at, claimed_until)


@dataclass
class _Responses:
    """How the source behaves during one call: it has `ended` to respond when a look failed while no other succeeded."""

    count: int = 0
    ended: bool = False


def _judge(file_id: UUID, file: LedgerFile, found: Facts | None) -> Seen:
    if file.in_flight:
        return Seen(file_id, Verdict.IN_FLIGHT, file.expected.position)
    differences = compare(file.expected, found)
    verdict = Verdict.INCONSISTENT if differences else Verdict.CONSISTENT
    return Seen(file_id, verdict, file.expected.position, differences, expected=file.expected, found=found)
