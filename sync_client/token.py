"""The source of the bearer token, and when it is called again."""

import re
from collections.abc import Awaitable, Callable

from sync_client.errors import InvalidCall
from sync_client.face import Face

Token = str | Callable[[], str | Awaitable[str]]

_VISIBLE = re.compile(r"[!-~]+")


class TokenSource:
    """Keeps the token until the service refuses it, then calls its source once for all waiting requests.

    Raises:
        InvalidCall: the token has characters that no token has.
    """

    def __init__(self, face: Face, token: Token) -> None:
        if isinstance(token, str):
            _check(token)
        self._face = face
        self._source = token
        self._token: str | None = None
        self._asking = face.lock()

    async def get(self) -> str:
        """The token to send.

        Raises:
            InvalidCall: the callable returned no token. Its own exceptions are passed on.
        """
        async with self._asking:
            if self._token is None:
                self._token = await self._ask()
            return self._token

    def refuse(self, token: str) -> bool:
        """Drop a token that the service refused. Returns whether the source may return another one."""
        if not callable(self._source):
            return False
        if self._token == token:
            self._token = None
        return True

    async def _ask(self) -> str:
        if not callable(self._source):
            return self._source
        return _check(await self._face.call(self._source))


def _check(token: str) -> str:
    if not _VISIBLE.fullmatch(token):
        raise InvalidCall("the token has characters that no token has, or none at all")
    return token
