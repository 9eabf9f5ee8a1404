"""Where the bearer token comes from, and when it is asked for again."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

Token = str | Callable[[], str | Awaitable[str]]


class TokenSource:
    """Keeps the token until the service refuses it, then asks once for another, however many requests wait for it."""

    def __init__(self, token: Token) -> None:
        self._source = token
        self._token: str | None = None
        self._asking = asyncio.Lock()

    async def get(self) -> str:
        """The token to send. What the callable raises is passed on."""
        async with self._asking:
            if self._token is None:
                self._token = await self._ask()
            return self._token

    def refuse(self, token: str) -> bool:
        """Forget a token that the service refused. Returns whether another one may be had."""
        if not callable(self._source):
            return False
        if self._token == token:
            self._token = None
        return True

    async def _ask(self) -> str:
        if not callable(self._source):
            return self._source
        token = self._source()
        return await token if inspect.isawaitable(token) else token
