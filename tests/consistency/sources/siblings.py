"""The metadata service and the block store of `examples/siblings`, over HTTP, with what they are asked."""

import hashlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID

import pytest
from fastapi import FastAPI
from jose import jwt

from tests.conftest import AUDIENCE, LOCAL_MODE, ROOT
from tests.support.relay import Relay
from tests.support.uvicorn_server import port_of, run_uvicorn

sys.path.insert(0, str(ROOT / "examples"))

from siblings import block_store, metadata_service
from siblings.store import Store
from siblings.tokens import LOCAL_ISSUER

Reply = tuple[int, bytes]


def token_of(subject: str) -> str:
    """A token of local mode."""
    claims = {"sub": subject, "iss": LOCAL_ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600}
    return str(jwt.encode(claims, LOCAL_MODE["SECRET_KEY"], algorithm="HS256"))


@dataclass
class Siblings:
    """What they are asked; `meddle` may replace the response to a path, None: let it be."""

    folder: Path
    store: Store
    metadata_url: str = ""
    block_url: str = ""
    requests: list[str] = field(default_factory=list)
    meddle: Callable[[str, str], Reply | None] = lambda _method, _path: None
    relay: Relay | None = None

    def watch(self, app: FastAPI) -> Any:
        """The application, whose requests are noted."""

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
            path = scope["raw_path"].decode() + query
            self.requests.append(f"{scope['method']} {unquote(path)}")
            reply = self.meddle(scope["method"], path)
            if reply is None:
                await app(scope, receive, send)
                return
            headers = [(b"content-length", str(len(reply[1])).encode())]
            await send({"type": "http.response.start", "status": reply[0], "headers": headers})
            await send({"type": "http.response.body", "body": reply[1]})

        return watched

    def asked(self) -> list[str]:
        """The requests since the last call."""
        requests, self.requests = self.requests, []
        return requests

    def put(self, file_id: UUID, *contents: bytes, subject: str = "owner") -> list[str]:
        """Let a user have a file of these blocks; returns their ids."""
        paths = [f"{subject}|{hashlib.sha256(one).hexdigest()}" for one in contents]
        for path, content in zip(paths, contents, strict=True):
            self.block(path).write_bytes(content)
        with self.store.transaction() as connection:
            connection.execute("INSERT INTO files VALUES (?, ?, 'a', 1, NULL, NULL, '')", (str(file_id), subject))
            chunks = [(str(file_id), number, path) for number, path in enumerate(paths)]
            connection.executemany("INSERT INTO chunks VALUES (?, ?, ?, '')", chunks)
        return paths

    def block(self, block_id: str) -> Path:
        """The file that holds a block."""
        return self.folder / quote(block_id, safe="")


def expected_block(block_id: str, content: bytes) -> dict[str, Any]:
    """A block as events name it."""
    return {"id": block_id, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@asynccontextmanager
async def serve_siblings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Siblings]:
    """Both services while the block runs."""
    for name, value in {**LOCAL_MODE, "FOLDER": str(folder / "blocks"), "DATABASE": str(folder / "files.db")}.items():
        monkeypatch.setenv(name, value)
    metadata, blocks = metadata_service.create_app(), block_store.create_app()
    siblings = Siblings(folder / "blocks", metadata.state.store)
    for name in LOCAL_MODE:
        del os.environ[name]
    async with (
        run_uvicorn(siblings.watch(metadata), 5, http="auto") as first,
        run_uvicorn(siblings.watch(blocks), 5, http="auto") as second,
        Relay(port_of(second)) as relay,
    ):
        siblings.metadata_url, siblings.block_url = f"http://127.0.0.1:{port_of(first)}", relay.url
        siblings.relay = relay
        yield siblings
