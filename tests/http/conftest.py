"""What the tests of the protocol share."""

from collections.abc import AsyncIterator

import pytest

from tests.http.served import Served, serve


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """An application that tells what it has seen."""
    async with serve() as served:
        yield served
