"""The contract for consistency checks: the files of the metadata service with the blocks of its block store."""

from collections.abc import Collection
from typing import Annotated, Any
from uuid import UUID

import httpx
from fastapi import APIRouter, Depends, HTTPException, Query, Request

from siblings.store import NO_FILE, CurrentStore, Store
from siblings.tokens import CurrentCaller

PAGE_ITEMS = 1000


def _sees_all(caller: CurrentCaller) -> None:
    if not caller.sees_all:
        raise HTTPException(403, "The scope read:inventory is needed.")


def _held_blocks(request: Request) -> Collection[str] | None:
    """The names of the blocks that the block store lists; None without a block store."""
    url = request.app.state.block_store_url
    if url is None:
        return None
    headers = {"Authorization": request.headers["Authorization"]}
    try:
        response = httpx.get(f"{url}/chunks", headers=headers, timeout=10).raise_for_status()
    except httpx.HTTPError:
        raise HTTPException(503, "The block store cannot be asked.") from None
    return set(response.json()["chunks"])


router = APIRouter(prefix="/inventory", dependencies=[Depends(_sees_all)])
Held = Annotated[Collection[str] | None, Depends(_held_blocks)]


@router.get("")
def list_inventory(
    store: CurrentStore,
    held: Held,
    after: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_ITEMS)] = 100,
) -> dict[str, Any]:
    """Files after `after`, sorted by `file_id`; `next` continues the list."""
    files = store.rows("SELECT * FROM files WHERE file_id > ? ORDER BY file_id LIMIT ?", str(after or ""), limit + 1)
    [count] = store.rows("SELECT count(*) AS total FROM files")
    shown = files[:limit]
    following = shown[-1]["file_id"] if len(files) > limit else None
    return {"items": [_item(store, file, held) for file in shown], "next": following, **count}


@router.get("/{file_id}")
def get_inventory_item(file_id: UUID, store: CurrentStore, held: Held) -> dict[str, Any]:
    """One file, or 404."""
    found = store.rows("SELECT * FROM files WHERE file_id = ?", str(file_id))
    if not found:
        raise HTTPException(404, NO_FILE)
    return _item(store, found[0], held)


def _item(store: Store, file: dict[str, Any], held: Collection[str] | None) -> dict[str, Any]:
    paths = [chunk["storage_path"] for chunk in store.chunks(file["file_id"])]
    facts = {name: file[name] for name in ("position", "size", "sha256") if file[name] is not None}
    blocks = [{"id": path} for path in paths if held is None or path in held]
    return {"file_id": file["file_id"], **facts, "blocks": blocks}
