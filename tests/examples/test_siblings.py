"""The siblings of the demo have the routes and the habits of real ones."""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from siblings import block_store, metadata_service

from tests.support.keyserver import KeyServer
from tests.support.tokens import TokenFactory

CallAs = Callable[..., httpx.AsyncClient]


@pytest.fixture
def call_metadata(issuer: KeyServer, tokens: TokenFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CallAs:
    """Clients of the metadata service, by their subject."""
    monkeypatch.setenv("AUTH0_DOMAIN", issuer.domain)
    monkeypatch.setenv("DATABASE", str(tmp_path / "metadata.db"))
    app = metadata_service.create_app()
    return lambda subject, **claims: client_of(app, tokens.token(sub=subject, **claims))


@pytest.fixture
def call_blocks(issuer: KeyServer, tokens: TokenFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CallAs:
    """Clients of the block store, by their subject."""
    monkeypatch.setenv("AUTH0_DOMAIN", issuer.domain)
    monkeypatch.setenv("FOLDER", str(tmp_path / "blocks"))
    app = block_store.create_app()
    return lambda subject: client_of(app, tokens.token(sub=subject))


def client_of(app: FastAPI, token: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sibling", headers=headers)


def new_file(file_id: UUID, size: int = 3) -> dict[str, object]:
    return {"file_id": str(file_id), "name": "a.txt", "size": size}


async def test_a_user_sees_only_files_of_its_own(call_metadata: CallAs) -> None:
    ann, bob, file_id = call_metadata("auth0|ann"), call_metadata("auth0|bob"), uuid4()
    assert (await ann.post("/files", json=new_file(file_id))).status_code == 201
    assert (await ann.get(f"/files/{file_id}")).json()["file_id"] == str(file_id)
    for path in (f"/files/{file_id}", f"/files/{file_id}/chunks"):
        assert (await bob.get(path)).status_code == 404
    assert (await bob.delete(f"/files/{file_id}")).status_code == 404
    assert (await bob.post("/files", json=new_file(file_id, size=9))).status_code == 409
    assert (await ann.get(f"/files/{file_id}")).json()["size"] == 3
    assert [len((await who.get("/files")).json()) for who in (ann, bob)] == [1, 0]
    chunk = {"chunk_index": 0, "storage_path": "auth0|ann|1"}
    assert (await ann.post(f"/files/{file_id}/chunks", json=[chunk])).status_code == 201
    [found] = (await ann.get(f"/files/{file_id}/chunks")).json()
    assert found.keys() == {"chunk_index", "storage_path", "created_at"}
    assert (await ann.delete(f"/files/{file_id}")).status_code == 204
    assert (await ann.get(f"/files/{file_id}")).status_code == 404


async def test_the_inventory_lists_all_files_by_id_for_a_service(call_metadata: CallAs) -> None:
    ids = sorted(uuid4() for _ in range(5))
    for number, file_id in enumerate(reversed(ids)):
        await call_metadata(f"auth0|{number}").post("/files", json=new_file(file_id))
    assert (await call_metadata("auth0|1").get("/inventory")).status_code == 403
    service = call_metadata("checker", scope="read:inventory")
    seen, after = [], None
    while True:
        page = (await service.get("/inventory", params={"limit": 2} | ({"after": after} if after else {}))).json()
        seen += [item["file_id"] for item in page["items"]]
        assert page["total"] == 5
        if (after := page["next"]) is None:
            break
    assert seen == [str(file_id) for file_id in ids]
    assert (await service.get(f"/inventory/{ids[0]}")).json() == {"file_id": seen[0], "size": 3, "blocks": []}
    assert (await service.get(f"/inventory/{uuid4()}")).status_code == 404


async def test_a_block_is_read_whole_listed_and_deleted(call_blocks: CallAs) -> None:
    client = call_blocks("auth0|ann")
    storage_path = (await client.post("/chunks", content=b"block")).json()["storage_path"]
    assert "|" in storage_path
    assert (await client.get(f"/chunks/{storage_path}")).content == b"block"
    assert (await client.head(f"/chunks/{storage_path}")).status_code == 405
    assert (await client.get("/chunks")).json() == {"bucket": "blocks", "chunks": [storage_path], "count": 1}
    assert (await client.delete(f"/chunks/{storage_path}")).status_code == 204
    assert (await client.get(f"/chunks/{storage_path}")).status_code == 404
    assert (await client.get("/chunks/..%2F..%2Fetc%2Fpasswd")).status_code == 404


async def test_without_a_valid_token_nothing_is_shown(call_metadata: CallAs) -> None:
    client = call_metadata("auth0|ann", exp=1)
    response = await client.get("/files")
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
