"""The file that remembers a cursor: replaced as a whole, and refused with a clear word when it is not ours."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sync_client import CursorFile, CursorStoreError, SyncClient
from sync_client.bookmark import Bookmark
from tests.conftest import ROOT


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store = CursorFile(tmp_path / "cursor")
    assert store.load() is None
    store.save("abc~12")
    store.save("abd~13")
    assert CursorFile(str(tmp_path / "cursor")).load() == "abd~13"
    assert (tmp_path / "cursor").read_text() == "abd~13\n"


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"abc\ndef\n", b"abc def\n", b"\x00" * 40, b"\xff\xfe", b"abc~12\n\n", b"~12\n", b"x" * 10_000],
)
async def test_damage_is_told_and_nothing_is_overwritten(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cursor"
    path.write_bytes(content)
    async with SyncClient("http://127.0.0.1:9", "token") as sync:
        with pytest.raises(CursorStoreError, match=r"cursor contains no cursor; move it away to start over"):
            await anext(sync.follow(store=CursorFile(path)))
    assert path.read_bytes() == content


async def test_a_place_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(CursorStoreError, match="cannot be read"):
        CursorFile(tmp_path).load()


async def test_a_place_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(CursorStoreError, match=r"nowhere/cursor cannot be written \(No such file"):
        CursorFile(tmp_path / "nowhere" / "cursor").save("abc~1")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CursorStoreError, match=r"cannot be written \(Is a directory\)"):
        CursorFile(tmp_path / "folder").save("abc~1")
    assert names(tmp_path) == ["folder"], "no draft is left"


def test_a_full_disk_keeps_the_old_cursor(tmp_path: Path) -> None:
    path = tmp_path / "cursor"
    path.write_text("old~1\n")
    code = f"import sync_client; sync_client.CursorFile({str(path)!r}).save('new~2')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, preexec_fn=no_room, capture_output=True, text=True, check=False
    )
    assert "CursorStoreError" in done.stderr
    assert "File too large" in done.stderr
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"cursor": "old~1\n"}


def test_a_bookmark_is_a_text() -> None:
    for text in ("AQAB-_w", "AQAB-_w~0"):
        bookmark = Bookmark.parse(text)
        assert bookmark.position is None or str(bookmark) == text
    assert Bookmark.parse("ab~12") == Bookmark("ab", 12)
    assert Bookmark.parse(str(Bookmark("ab", 12, "0123456789ab"))) == Bookmark("ab", 12, "0123456789ab")
    for text in ("ab~12~", "ab~12~0123456789a", "ab~12~0123456789AB", "ab~~0123456789ab"):
        with pytest.raises(ValueError, match="not a cursor"):
            Bookmark.parse(text)
    assert Bookmark.parse("latest") == Bookmark("latest")
