"""A small block store: it keeps blocks in a folder, under names that contain the owner's subject.

FOLDER=blocks python -m uvicorn --factory siblings.block_store:create_app --port 8002
"""

import hashlib
import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import Body, FastAPI, HTTPException, Response

from siblings.tokens import CurrentCaller, TokenVerifier

BUCKET = "blocks"
NO_BLOCK = "There is no such block."


def create_app() -> FastAPI:
    """The service, as the environment sets it up: FOLDER, and what `TokenVerifier` reads."""
    app = FastAPI(title="Block store")
    app.state.tokens = TokenVerifier.from_environment()
    folder = Path(os.environ.get("FOLDER", "blocks"))
    folder.mkdir(parents=True, exist_ok=True)

    def find(storage_path: str) -> Path:
        path = folder / quote(storage_path, safe="")
        if not path.is_file():
            raise HTTPException(404, NO_BLOCK)
        return path

    @app.post("/chunks", status_code=201)
    def create_block(
        content: Annotated[bytes, Body(media_type="application/octet-stream")], caller: CurrentCaller
    ) -> dict[str, str]:
        storage_path = f"{caller.subject}|{hashlib.sha256(content).hexdigest()}"
        path = folder / quote(storage_path, safe="")
        unfinished = path.with_name(f"{path.name}.part")
        unfinished.write_bytes(content)
        unfinished.rename(path)
        return {"storage_path": storage_path}

    @app.get("/chunks")
    def list_blocks(_caller: CurrentCaller) -> dict[str, Any]:
        names = [unquote(path.name) for path in folder.iterdir() if path.suffix != ".part"]
        return {"bucket": BUCKET, "chunks": names, "count": len(names)}

    @app.get("/chunks/{storage_path:path}")
    def get_block(storage_path: str, _caller: CurrentCaller) -> Response:
        return Response(find(storage_path).read_bytes(), media_type="application/octet-stream")

    @app.delete("/chunks/{storage_path:path}", status_code=204)
    def delete_block(storage_path: str, _caller: CurrentCaller) -> None:
        find(storage_path).unlink()

    return app
