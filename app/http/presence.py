"""Notices that a client leaves before it is answered."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import HTTPException, Request

T = TypeVar("T")


class ClientLeft(HTTPException):
    """499, as nginx has it: for the log and the metrics, since nobody is there to be answered."""

    def __init__(self) -> None:
        super().__init__(499, "The client left before it was answered.", {"Connection": "close"})


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; it is cancelled when the client of `request` leaves. The rest of a body is lost.

    Raises:
        ClientLeft: 499.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_leave(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientLeft
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _leave(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
