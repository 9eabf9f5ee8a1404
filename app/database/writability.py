"""Whether the database accepts writes that last, and if not, why."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from app.database.errors import DatabaseUnavailable, disk_is_full, is_read_only

log = structlog.get_logger(__name__)

DAMAGE = "damage"  # the check that finds the database damaged or lost
READ_ONLY = "read-only"
_DISK = "disk"
_READ_ONLY_REASON = "The database is read-only: a standby, default_transaction_read_only, or the rights of its file."
_ENFORCED = frozenset({READ_ONLY, _DISK})  # by the database itself, which knows first when it accepts writes again
_DISK_REASON = "The disk of the database is full, or cannot be written."


class WritesRefused(DatabaseUnavailable):
    """503: the database answers, but an event written now could be lost."""

    code = "writes-refused"
    detail = "The database does not accept writes that last; try again."


class Writability:
    """The reasons for which writes are refused, each kept under the name of the check that found it.

    Checks call `refuse`, `report_read_only` and `allow` as often as they look; a change is logged once. Appends call
    `check` and run in `observed`, `/health` reads `reason`. Appends still try what the database itself refuses.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    @property
    def reason(self) -> str | None:
        """One sentence for people that says why writes are refused; None while they are accepted."""
        return next(iter(self._reasons.values()), None)

    @property
    def is_damaged(self) -> bool:
        """Whether the database was found damaged or lost, which only an operator can heal."""
        return DAMAGE in self._reasons

    def refuse(self, check: str, reason: str) -> None:
        """Refuse writes for `reason` until `check` allows them again."""
        if self._reasons.get(check) != reason:
            log.error("writes refused", check=check, reason=reason)
        self._reasons[check] = reason

    def report_read_only(self) -> None:
        """Report that the database refuses writes."""
        self.refuse(READ_ONLY, _READ_ONLY_REASON)

    def allow(self, check: str) -> None:
        """Withdraw the reason that `check` gave, if it gave one."""
        if self._reasons.pop(check, None) is not None:
            log.info("writes accepted again", check=check)

    def check(self) -> None:
        """Raise `WritesRefused` while there is a reason that the database does not enforce itself."""
        for check, reason in self._reasons.items():
            if check not in _ENFORCED:
                raise WritesRefused(reason)

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Report why the write of the block fails if every write would; withdraw that once a write succeeds."""
        try:
            yield
        except Exception as error:
            if is_read_only(error):
                self.report_read_only()
            elif disk_is_full(error):
                self.refuse(_DISK, _DISK_REASON)
            raise
        self.allow(READ_ONLY)
        self.allow(_DISK)
