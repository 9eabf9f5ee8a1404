"""`python -m app backup`: a whole copy, taken while the service writes."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from app.cli import main
from app.database.engine import Database
from app.database.sqlite_file import BackupFailed, back_up
from tests.events.support import add_events, open_ledger, record
from tests.support.marks import on_sqlite


def files_beside(target: Path) -> list[Path]:
    """The copy, and what SQLite may have left beside it."""
    return list(target.parent.glob(f"{target.name}*"))


@on_sqlite
async def test_a_copy_ends_under_load_and_is_whole(database: Database, path: Path, tmp_path: Path) -> None:
    ledger, target = open_ledger(database), tmp_path / "backup.db"
    await ledger.append([record(metadata=f'{{"padding":"{"x" * 9000}"}}') for _ in range(500)])
    steps: list[tuple[int, int]] = []
    loop = asyncio.get_running_loop()

    def append_between_steps(copied: int, pages: int) -> None:
        steps.append((copied, pages))
        asyncio.run_coroutine_threadsafe(ledger.append([record()]), loop).result(10)

    backup = await asyncio.to_thread(back_up, path, target, append_between_steps)
    assert backup.events == 500
    assert backup.size == target.stat().st_size
    assert len(steps) > 3
    assert steps == sorted(steps), "the copy began again"
    assert {pages for _, pages in steps} == {steps[-1][0]}
    assert files_beside(target) == [target]
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert copy.execute("SELECT count(*), max(position) FROM sync_events").fetchone() == (500, 500)


@on_sqlite
async def test_the_command_reports_what_it_copied_and_overwrites_nothing(
    database: Database, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await add_events(database, (uuid4(), "upload"), (uuid4(), "upload"))
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{path}")
    target = tmp_path / "backup.db"
    assert main(["backup", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}: 2 events, {target.stat().st_size} bytes\n"
    before = target.read_bytes()
    assert main(["backup", str(target)]) == 1
    assert capsys.readouterr().err == f"{target} exists: name a file that does not\n"
    assert target.read_bytes() == before


def test_on_postgresql_the_command_names_pg_dump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/sync")
    assert main(["backup", str(tmp_path / "backup.db")]) == 1
    assert "pg_dump" in capsys.readouterr().err
    assert not (tmp_path / "backup.db").exists()


@pytest.mark.parametrize("contents", [None, b"minutes of the meeting" * 999])
def test_a_failed_copy_leaves_nothing(tmp_path: Path, contents: bytes | None) -> None:
    source, target = tmp_path / "other.db", tmp_path / "backup.db"
    if contents is not None:
        source.write_bytes(contents)
    with pytest.raises(BackupFailed, match="could not be copied"):
        back_up(source, target, lambda _copied, _pages: None)
    assert not target.exists()
    assert source.exists() == (contents is not None)
