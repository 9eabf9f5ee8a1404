"""Whether the services that hold the files agree with the events: sources, checks, findings, repairs.

Reads need `read:sync` where scopes are enforced, everything else needs `admin:sync`.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Literal, TypedDict, Unpack
from uuid import UUID

from pydantic import TypeAdapter

from sync_client.connection import Connection, path_id
from sync_client.consistency_models import AppliedRepair, Check, Finding, RepairPlan, Source, SourceTest
from sync_client.errors import InvalidCall
from sync_client.face import Face_co, operation, pages
from sync_client.models import ResponseModel
from sync_client.pagination import Query, list_pages
from sync_client.resource import Resource

RepairAction = Literal["redeliver", "compensate"]
PAGE_CHECKS, PAGE_FINDINGS = 100, 1000
POLL_SECONDS = 0.5


class FindingFilter(TypedDict, total=False):
    """A filter of findings; an absent member matches any."""

    state: str
    kind: str
    source: UUID | str
    file_id: UUID | str


class SourceOptions(TypedDict, total=False):
    """Settings of a source, when it is added and later."""

    grace_seconds: int
    enabled: bool


class SourceChange(SourceOptions, total=False):
    """Further settings that can be changed. A header's None removes it; None instead of the dict removes all."""

    name: str
    url: str
    headers: dict[str, str | None] | None


class _Accepted(ResponseModel):
    accepted: int


_SOURCE = TypeAdapter(Source)
_SOURCES = TypeAdapter(tuple[Source, ...])
_TEST = TypeAdapter(SourceTest)
_CHECK = TypeAdapter(Check)
_CHECKS = TypeAdapter(tuple[Check, ...])
_FINDING = TypeAdapter(Finding)
_FINDINGS = TypeAdapter(tuple[Finding, ...])
_ACCEPTED = TypeAdapter(_Accepted)
_PLAN = TypeAdapter(RepairPlan)
_APPLIED = TypeAdapter(AppliedRepair)
_NOTHING = TypeAdapter(None)


class Consistency(Resource[Face_co]):
    """Checks of the sources. For one file see `files.consistency`."""

    @operation
    async def add_source(
        self, name: str, url: str, *, headers: dict[str, str] | None = None, **options: Unpack[SourceOptions]
    ) -> Source:
        """Add a source that serves the inventory contract. Not retried once sent: a repetition adds it twice."""
        body = {"name": name, "kind": "contract", "url": url, "headers": headers or {}, **options}
        return (await self._connection.send("POST", "consistency/sources", _SOURCE, body))[0]

    @operation
    async def sources(self) -> Sequence[Source]:
        """All sources, oldest first."""
        return (await self._connection.get("consistency/sources", _SOURCES))[0]

    @operation
    async def get_source(self, source: UUID | str) -> Source:
        """One source."""
        return (await self._connection.get(_path("sources", source), _SOURCE))[0]

    @operation
    async def change_source(self, source: UUID | str, **changes: Unpack[SourceChange]) -> Source:
        """Change the named settings and leave the rest."""
        return (await self._connection.send("PATCH", _path("sources", source), _SOURCE, changes, repeatable=True))[0]

    @operation
    async def delete_source(self, source: UUID | str) -> None:
        """Delete a source with its checks and findings."""
        await self._connection.send("DELETE", _path("sources", source), _NOTHING)

    @operation
    async def test_source(self, source: UUID | str) -> SourceTest:
        """Ask the source for one item. A bad response is a result and raises no error."""
        return (await self._connection.send("POST", f"{_path('sources', source)}/test", _TEST, repeatable=True))[0]

    @operation
    async def check(
        self,
        source: UUID | str,
        file_ids: Sequence[UUID | str] | None = None,
        *,
        deep: str | None = None,
        accept_shrink: bool = False,
    ) -> Check:
        """Begin a check of the whole source, or of these files alone; `wait` returns it when it has ended.

        `deep`, such as `1/7`, reads and hashes that part of the blocks. `accept_shrink` accepts a listing that lacks
        many files.

        Raises:
            Conflict: a check of this source is under way.
        """
        scope = {"all": True} if file_ids is None else {"file_ids": [path_id(one) for one in file_ids]}
        body: dict[str, Any] = {"source": path_id(source), "scope": scope}
        body |= {"deep": deep} if deep is not None else {}
        body |= {"accept_shrink": True} if accept_shrink else {}
        return (await self._connection.send("POST", "consistency/checks", _CHECK, body))[0]

    @operation
    async def wait(
        self,
        check_id: UUID | str,
        *,
        poll_seconds: float = POLL_SECONDS,
        on_progress: Callable[[Check], None] | None = None,
    ) -> Check:
        """The check once it has ended; `on_progress` is called with it after each request."""
        while True:
            check = await _get_check(self._connection, check_id)
            if on_progress is not None:
                on_progress(check)
            if check.ended_at is not None:
                return check
            await self.face.sleep(poll_seconds)

    @operation
    async def get_check(self, check_id: UUID | str) -> Check:
        """One check, with its progress."""
        return await _get_check(self._connection, check_id)

    @pages
    async def checks(self, *, source: UUID | str | None = None) -> AsyncGenerator[Check, None]:
        """Checks, newest first."""
        query = {"source": None if source is None else path_id(source), "limit": PAGE_CHECKS}
        async for one in list_pages(self._connection, "consistency/checks", _CHECKS, query, _newest_first):
            yield one

    @operation
    async def cancel_check(self, check_id: UUID | str) -> Check:
        """Stop a running check.

        Raises:
            Conflict: it has ended.
        """
        return (await self._connection.send("POST", f"{_path('checks', check_id)}/cancel", _CHECK))[0]

    @pages
    async def findings(self, **wanted: Unpack[FindingFilter]) -> AsyncGenerator[Finding, None]:
        """The findings that match, newest first, fetched page by page."""
        query: Query = {**_filter(wanted), "limit": PAGE_FINDINGS}
        async for one in list_pages(self._connection, "consistency/findings", _FINDINGS, query, _newest_first):
            yield one

    @operation
    async def accept(self, finding_id: UUID | str, reason: str) -> Finding:
        """Accept a suspected or open finding: it never opens again.

        Raises:
            Conflict: it is resolved or accepted.
        """
        path = f"{_path('findings', finding_id)}/accept"
        return (await self._connection.send("POST", path, _FINDING, {"reason": reason}))[0]

    @operation
    async def accept_matching(self, reason: str, *, expected: int, **wanted: Unpack[FindingFilter]) -> int:
        """Accept all suspected and open findings that match, if their number is `expected`; returns the number.

        Raises:
            Conflict: another number matches; nothing was accepted.
        """
        body = {"filter": _filter(wanted), "expected": expected, "reason": reason}
        return (await self._connection.send("POST", "consistency/findings/accept", _ACCEPTED, body))[0].accepted

    @operation
    async def plan_repair(self, action: RepairAction, **wanted: Unpack[FindingFilter]) -> RepairPlan:
        """Plan the repair of the open findings that match; nothing is done before `apply_repair`.

        `redeliver` delivers the last event of each file again; `compensate` records an event with the state of the
        source.
        """
        body = {"filter": _filter(wanted), "action": action, "dry_run": True}
        return (await self._connection.send("POST", "consistency/repairs", _PLAN, body, repeatable=True))[0]

    @operation
    async def apply_repair(self, plan: RepairPlan) -> AppliedRepair:
        """Check each finding of the plan again, and repair those that still stand. Applied twice, it acts once."""
        path, condition = f"{_path('repairs', plan.id)}/apply", {"If-Match": f'"{plan.digest}"'}
        return (await self._connection.send("POST", path, _APPLIED, headers=condition, repeatable=True))[0]


async def _get_check(connection: Connection, check_id: UUID | str) -> Check:
    return (await connection.get(_path("checks", check_id), _CHECK))[0]


def _newest_first(one: Check | Finding) -> int:
    return -one.id.int


def _path(kind: str, id_: UUID | str) -> str:
    return f"consistency/{kind}/{path_id(id_)}"


def _filter(wanted: FindingFilter) -> dict[str, str]:
    unknown = wanted.keys() - FindingFilter.__annotations__.keys()
    if unknown:
        raise InvalidCall(f"findings have no filter {min(unknown)}")
    return {name: str(value) for name, value in wanted.items() if value is not None}
