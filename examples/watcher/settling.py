"""Decides when a change has settled, so that files still being written are left alone."""

from collections.abc import Iterable

from watcher.scanner import Fingerprint


class Settling:
    """Stores since when a changed path has its present fingerprint. A path that is gone has the fingerprint None."""

    def __init__(self, quiet_seconds: float) -> None:
        self._quiet_seconds = quiet_seconds
        self._since: dict[str, tuple[Fingerprint | None, float]] = {}

    def has_settled(self, path: str, fingerprint: Fingerprint | None, *, clock: float, wall_clock: float) -> bool:
        """Whether `path` has had this fingerprint for the quiet time.

        `clock` is monotonic, `wall_clock` counts from 1970, both in seconds. A file whose own times are that
        old is settled at once.
        """
        seen, since = self._since.get(path, (None, None))
        if since is None or seen != fingerprint:
            self._since[path] = (fingerprint, clock)
            since = clock
        if fingerprint is not None:
            newest = max(fingerprint.modified_ns, fingerprint.changed_ns) / 1e9
            if wall_clock - newest >= self._quiet_seconds:
                return True
        return clock - since >= self._quiet_seconds

    def keep_only(self, paths: Iterable[str]) -> None:
        """Forget every path but `paths`."""
        self._since = {path: self._since[path] for path in paths if path in self._since}
