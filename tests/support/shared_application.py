"""One application on the shared database for most tests of a folder; its tasks go on beside the tests that follow."""

import httpx
import pytest
import pytest_asyncio

from tests.conftest import MakeSettings
from tests.support.shared_database import SharedDatabase
from tests.support.tokens import TokenFactory

__all__ = ["anonymous", "client"]


@pytest_asyncio.fixture(loop_scope="session")
async def anonymous(shared_database: SharedDatabase, make_settings: MakeSettings) -> httpx.AsyncClient:
    """A client without a token, of the application of the folder."""
    return await shared_database.client(make_settings)


@pytest.fixture
def client(anonymous: httpx.AsyncClient, tokens: TokenFactory) -> httpx.AsyncClient:
    """The same client with a token of `chunker@clients` that allows everything."""
    anonymous.headers["Authorization"] = f"Bearer {tokens.token(scope='read:sync write:sync admin:sync')}"
    return anonymous
