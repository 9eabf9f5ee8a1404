"""A small metadata service: it knows the files and the names of their blocks.

    DATABASE=metadata.db python -m uvicorn --factory siblings.metadata_service:create_app --port 8001

Users see their own files; `/inventory` shows all of them to a service whose token has the scope `read:inventory`. With
BLOCK_STORAGE_SERVICE_URL the inventory lists only blocks that the block store holds.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, FastAPI, HTTPException, Query
from pydantic import BaseModel, Field

from siblings import inventory
from siblings.store import CurrentStore, Store
from siblings.tokens import CurrentCaller, TokenVerifier

MAX_ITEMS = 1000

router = APIRouter(prefix="/files")


class NewFile(BaseModel):
    """A file, and the position of the event that it comes from."""

    file_id: UUID
    name: str
    size: int = Field(ge=0)
    sha256: str | None = None
    position: int | None = None


class NewChunk(BaseModel):
    """A block of a file, by its number and its name in the block store."""

    chunk_index: int = Field(ge=0)
    storage_path: str


@router.post("", status_code=201)
def create_file(file: NewFile, store: CurrentStore, caller: CurrentCaller) -> NewFile:
    """Record a file, or a new version of it."""
    with store.transaction() as connection:
        written = connection.execute(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (file_id) DO UPDATE SET"
            " name = excluded.name, size = excluded.size, sha256 = excluded.sha256, position = excluded.position"
            " WHERE owner = excluded.owner",
            (str(file.file_id), caller.subject, file.name, file.size, file.sha256, file.position, _now()),
        )
    if not written.rowcount:
        raise HTTPException(409, "Another user has a file with this id.")
    return file


@router.get("")
def list_files(
    store: CurrentStore,
    caller: CurrentCaller,
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_ITEMS)] = 100,
) -> list[dict[str, Any]]:
    """The caller's own files, in no order."""
    return store.rows("SELECT * FROM files WHERE owner = ? LIMIT ? OFFSET ?", caller.subject, limit, skip)


@router.get("/{file_id}")
def get_file(file_id: UUID, store: CurrentStore, caller: CurrentCaller) -> dict[str, Any]:
    """One file of the caller."""
    return store.own_file(file_id, caller)


@router.delete("/{file_id}", status_code=204)
def delete_file(file_id: UUID, store: CurrentStore, caller: CurrentCaller) -> None:
    """Delete a file of the caller."""
    store.own_file(file_id, caller)
    with store.transaction() as connection:
        connection.execute("DELETE FROM files WHERE file_id = ?", (str(file_id),))


@router.post("/{file_id}/chunks", status_code=201)
def add_chunks(file_id: UUID, chunks: list[NewChunk], store: CurrentStore, caller: CurrentCaller) -> list[NewChunk]:
    """Record blocks of a file."""
    store.own_file(file_id, caller)
    with store.transaction() as connection:
        connection.executemany(
            "INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?)",
            [(str(file_id), chunk.chunk_index, chunk.storage_path, _now()) for chunk in chunks],
        )
    return chunks


@router.get("/{file_id}/chunks")
def list_chunks(file_id: UUID, store: CurrentStore, caller: CurrentCaller) -> list[dict[str, Any]]:
    """The blocks of a file, in order."""
    store.own_file(file_id, caller)
    return store.chunks(file_id)


def create_app() -> FastAPI:
    """The service, as the environment sets it up."""
    app = FastAPI(title="Metadata service")
    app.state.tokens = TokenVerifier.from_environment()
    app.state.store = Store(Path(os.environ.get("DATABASE", "metadata.db")))
    app.state.block_store_url = os.environ.get("BLOCK_STORAGE_SERVICE_URL")
    app.include_router(router)
    app.include_router(inventory.router)
    return app


def _now() -> str:
    return datetime.now(UTC).isoformat()
