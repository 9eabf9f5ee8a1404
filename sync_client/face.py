"""One core, two faces: the operations are written once, as coroutines, and run with asyncio or without it.

With a `BlockingFace` nothing in a coroutine ever suspends, so that a single step runs it to its end. `operation` and
`pages` make a method async on `SyncClient` and plain on `BlockingSyncClient`, with matching types.
"""

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast, final, overload

import httpx

from sync_client.errors import InvalidCall

P = ParamSpec("P")
T = TypeVar("T")
Given = TypeVar("Given")


class Face(Protocol):
    """The interfaces that the core needs."""

    @property
    def http(self) -> httpx.AsyncClient | httpx.Client:
        """Builds requests, and has the connections."""

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the whole response."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def call(self, function: Callable[..., Given | Awaitable[Given]], *arguments: object) -> Given:
        """Call a function of the user, plain or async."""

    async def call_blocking(self, function: Callable[..., Given], *arguments: object) -> Given:
        """Call a function that may wait for the disk."""

    def lock(self) -> AbstractAsyncContextManager[object]:
        """A new lock."""


@final
class AsyncFace:
    """With asyncio."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def send(self, request: httpx.Request) -> httpx.Response:
        """See `Face`."""
        return await self.http.send(request)

    async def sleep(self, seconds: float) -> None:
        """See `Face`."""
        await asyncio.sleep(seconds)

    async def call(self, function: Callable[..., Given | Awaitable[Given]], *arguments: object) -> Given:
        """See `Face`."""
        returned = function(*arguments)
        return await returned if inspect.isawaitable(returned) else returned

    async def call_blocking(self, function: Callable[..., Given], *arguments: object) -> Given:
        """See `Face`."""
        return await asyncio.to_thread(function, *arguments)

    def lock(self) -> AbstractAsyncContextManager[object]:
        """See `Face`."""
        return asyncio.Lock()


@final
class BlockingFace:
    """Without asyncio: the coroutines return before they ever suspend."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    async def send(self, request: httpx.Request) -> httpx.Response:
        """See `Face`."""
        return self.http.send(request)

    async def sleep(self, seconds: float) -> None:
        """See `Face`."""
        time.sleep(seconds)  # noqa: ASYNC251 - no event loop runs this

    async def call(self, function: Callable[..., Given | Awaitable[Given]], *arguments: object) -> Given:
        """See `Face`; an async function raises `InvalidCall`."""
        returned = function(*arguments)
        if inspect.isawaitable(returned):
            if inspect.iscoroutine(returned):
                returned.close()
            raise InvalidCall("BlockingSyncClient takes plain functions; SyncClient takes async ones too")
        return returned

    async def call_blocking(self, function: Callable[..., Given], *arguments: object) -> Given:
        """See `Face`."""
        return function(*arguments)

    def lock(self) -> AbstractAsyncContextManager[object]:
        """See `Face`."""
        return _ThreadLock()


class _ThreadLock:
    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> Self:
        self._lock.acquire()  # noqa: ASYNC222, RUF100 - no event loop runs this
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()


Face_co = TypeVar("Face_co", bound=AsyncFace | BlockingFace, covariant=True)


class HasFace(Protocol[Face_co]):
    """The owner of the operations."""

    @property
    def face(self) -> Face_co:
        """How they are run."""


class operation(Generic[P, T]):  # noqa: N801 - a decorator
    """Makes a coroutine function a method that is async or plain, as the face of its object is."""

    def __init__(self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: HasFace[AsyncFace], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, instance: HasFace[BlockingFace], owner: type) -> Callable[P, T]: ...
    def __get__(self, instance: HasFace[Any] | None, owner: type) -> Any:
        if instance is None:
            return self
        bound = self._function.__get__(instance, owner)
        return bound if isinstance(instance.face, AsyncFace) else _plain(bound, lambda *a, **k: run(bound(*a, **k)))


class pages(Generic[P, T]):  # noqa: N801 - a decorator
    """The same for an async generator function: an async or a plain iterator."""

    def __init__(self, function: Callable[Concatenate[Any, P], AsyncGenerator[T, None]]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: HasFace[AsyncFace], owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    @overload
    def __get__(self, instance: HasFace[BlockingFace], owner: type) -> Callable[P, Generator[T, None, None]]: ...
    def __get__(self, instance: HasFace[Any] | None, owner: type) -> Any:
        if instance is None:
            return self
        bound = self._function.__get__(instance, owner)
        return bound if isinstance(instance.face, AsyncFace) else _plain(bound, lambda *a, **k: iterate(bound(*a, **k)))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    coroutine.close()
    raise RuntimeError("an operation of BlockingSyncClient has suspended")


def iterate(generator: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """The items of an async generator that never suspends; closed with it."""
    try:
        while True:
            try:
                item = run(generator.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(generator.aclose())


def _plain(bound: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    function.__name__, function.__doc__ = bound.__name__, bound.__doc__
    return function
