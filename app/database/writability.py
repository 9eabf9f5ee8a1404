"""Whether the database accepts writes that last, and if not, why."""

import structlog

from app.database.errors import DatabaseUnavailable

log = structlog.get_logger(__name__)

DAMAGE = "damage"  # the check that finds the database damaged or lost


class WritesRefused(DatabaseUnavailable):
    """503: the database answers, but an event written now could be lost."""

    code = "writes-refused"
    detail = "The database does not accept writes that last; try again."


class Writability:
    """The reasons for which writes are refused, each kept under the name of the check that found it.

    Checks call `refuse` and `allow` as often as they look; a change is logged once. Appends call `check`, `/health`
    reads `reason`.
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

    def allow(self, check: str) -> None:
        """Withdraw the reason that `check` gave, if it gave one."""
        if self._reasons.pop(check, None) is not None:
            log.info("writes accepted again", check=check)

    def check(self) -> None:
        """Raise `WritesRefused` while there is a reason to."""
        if (reason := self.reason) is not None:
            raise WritesRefused(reason)
