"""Posts events to the service, each exactly once, despite failures."""

import asyncio
from collections.abc import Mapping, Sequence

from sync_client import Unavailable
from watcher.delivery import Delivery, Refused, Rejected
from watcher.display import Row
from watcher.scanner import Fingerprint
from watcher.state import Intent, State, StateFile
from watcher.tracker import Tracker

CONNECTIONS = 8


class Outbox:
    """Owns the state of the folder: saves it before and after it posts events."""

    def __init__(
        self, state: State, state_file: StateFile, delivery: Delivery, tracker: Tracker, stop: asyncio.Event
    ) -> None:
        self.state = state
        self.rejected: dict[str, tuple[Fingerprint | None, str]] = {}
        self._state_file = state_file
        self._delivery = delivery
        self._tracker = tracker
        self._stop = stop
        self._is_changed = True

    async def deliver(self, intents: Sequence[Intent]) -> None:
        """Post events of different files, several at a time. Other events stay pending.

        Raises:
            Unavailable, Refused: posting stopped early.
            StateError: nothing was posted, because the state could not be saved first.
        """
        if not intents:
            return
        self.state.pending |= {intent.path: intent for intent in intents}
        self._is_changed = True
        await self.save()
        self._is_changed = True
        failures: list[Unavailable | Refused] = []
        queue = iter(intents)

        async def work() -> None:
            for intent in queue:
                if failures or self._stop.is_set():
                    return
                try:
                    await self._deliver_one(intent)
                except (Unavailable, Refused) as error:
                    failures.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(CONNECTIONS, len(intents))):
                group.create_task(work())
        if failures:
            raise next((error for error in failures if isinstance(error, Refused)), failures[0])

    def was_rejected(self, path: str, fingerprint: Fingerprint | None) -> bool:
        """Whether the service refused the event of exactly this change."""
        return path in self.rejected and self.rejected[path][0] == fingerprint

    def forget_rejections(self, files: Mapping[str, Fingerprint]) -> None:
        """Drop refused events of files that have changed since."""
        self.rejected = {path: item for path, item in self.rejected.items() if files.get(path) == item[0]}

    def touch(self, path: str, fingerprint: Fingerprint) -> None:
        """The file at `path` looks different, but its content is the known one."""
        self.state.files[path] = self.state.files[path]._replace(fingerprint=fingerprint)
        self._is_changed = True

    def check(self) -> None:
        """See `StateFile.check`."""
        self._state_file.check()

    async def save(self) -> None:
        """Write the state to disk, if it has changed.

        Raises:
            StateError: it cannot be written where it was before.
        """
        if self._is_changed:
            await asyncio.to_thread(self._state_file.save, self.state)
            self._is_changed = False

    async def _deliver_one(self, intent: Intent) -> None:
        try:
            created = await self._delivery.post(intent)
        except Rejected as error:
            del self.state.pending[intent.path]
            self.rejected[intent.path] = (intent.record.fingerprint if intent.record else None, str(error))
            return
        self.rejected.pop(intent.path, None)
        self.state.accept(intent)
        self._tracker.follow(Row(intent, created))
