"""Tells the middleware around a request that it stays, to wait for what is to come: a stream or a long poll."""

from collections.abc import Callable

from app.http.middleware import Scope


class Stay:
    """Of one request. Once `begun`, it is no measure of how fast the service is and takes nobody's place."""

    def __init__(self) -> None:
        self.begun = False
        self._callbacks: list[Callable[[], None]] = []

    @classmethod
    def of(cls, scope: Scope) -> "Stay":
        """That of the request with this scope."""
        stay: Stay = scope.setdefault("state", {}).setdefault("stay", cls())
        return stay

    def on_begin(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the request begins to stay."""
        self._callbacks.append(callback)

    def begin(self) -> None:
        """The request stays from now on."""
        if not self.begun:
            self.begun = True
            for callback in self._callbacks:
                callback()
