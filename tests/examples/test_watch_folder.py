"""The watcher against a real HTTP server: what it posts for what happens in the folder."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watcher.block import BLOCK_BYTES
from watcher.runner import ExitStatus

from tests.examples.conftest import EXAMPLES
from tests.examples.service_double import TOKEN, ServiceDouble, _Handler
from tests.examples.watcher_run import run_once, until, watching
from tests.support.fork_server import ForkServer

pytestmark = pytest.mark.slow

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def start(folder: Path, service: ServiceDouble, *arguments: str, **more: Any) -> "subprocess.Popen[str]":
    """The program itself, as a person starts it."""
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / "watch_folder.py"), str(folder), "--url", service.url, *arguments],
        env={**os.environ, "SYNC_TOKEN": TOKEN, "XDG_STATE_HOME": str(folder.parent)} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def run(fork_server: ForkServer, folder: Path) -> Run:
    """Run the program to its end."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "SYNC_TOKEN": TOKEN, "XDG_STATE_HOME": str(folder.parent)}
        return fork_server.run(("tests.support.script", str(EXAMPLES / "watch_folder.py"), *arguments), environment)

    return run


async def test_once_posts_every_file_with_its_blocks(folder: Path, service: ServiceDouble) -> None:
    content = os.urandom(BLOCK_BYTES + 10)
    (folder / "a").mkdir()
    (folder / "a" / "two blocks").write_bytes(content)
    (folder / "empty").touch()
    status, display = await run_once(folder, service)
    assert status is ExitStatus.DONE
    assert sorted(service.summaries) == [("upload", "a/two blocks"), ("upload", "empty")]
    by_path = {event.body["metadata"]["path"]: event.body["metadata"] for event in service.events}
    blocks = [hashlib.sha256(part).hexdigest() for part in (content[:BLOCK_BYTES], content[BLOCK_BYTES:])]
    large = by_path["a/two blocks"]
    assert large["blocks"] == blocks
    assert (large["size"], large["block_count"], large["block_size"]) == (len(content), 2, BLOCK_BYTES)
    assert (by_path["empty"]["blocks"], by_path["empty"]["block_count"]) == ([], 0)
    assert display.hashed_bytes == len(content)


async def test_watching_follows_upload_update_rename_and_delete(folder: Path, service: ServiceDouble) -> None:
    async with watching(folder, service) as display:
        (folder / "a").write_text("one")
        await until(lambda: service.summaries == [("upload", "a")])
        (folder / "a").write_text("two")
        await until(lambda: service.summaries[1:] == [("update", "a")])
        (folder / "a").rename(folder / "b")
        await until(lambda: service.summaries[2:] == [("upload", "b"), ("delete", "a")])
        (folder / "b").unlink()
        await until(lambda: service.summaries[4:] == [("delete", "b")])
        await until(lambda: [row.state for row in display.rows] == ["processed"] * 5)
        assert [row.position for row in display.rows] == [1, 2, 3, 4, 5]
    uploaded, updated, moved, deleted, _ = (event.body for event in service.events)
    assert uploaded["file_id"] == updated["file_id"] == deleted["file_id"] != moved["file_id"]
    assert moved["metadata"]["moved_from"] == {"file_id": uploaded["file_id"], "path": "a"}
    assert deleted["metadata"]["blocks_sha256"] == updated["metadata"]["blocks_sha256"]


async def test_a_moved_directory_moves_its_files(folder: Path, service: ServiceDouble) -> None:
    (folder / "old").mkdir()
    (folder / "old" / "file").write_text("content")
    async with watching(folder, service):
        await until(lambda: service.summaries == [("upload", "old/file")])
        (folder / "old").rename(folder / "new")
        await until(lambda: service.summaries[1:] == [("upload", "new/file"), ("delete", "old/file")])


async def test_a_replaced_file_is_one_update(folder: Path, service: ServiceDouble) -> None:
    (folder / "file").write_text("one")
    async with watching(folder, service):
        await until(lambda: len(service.events) == 1)
        (folder / ".file.swap").write_text("two")
        (folder / ".file.swap").replace(folder / "file")
        await until(lambda: ("update", "file") in service.summaries)
    assert not [summary for summary in service.summaries if summary[0] == "delete" and summary[1] == "file"]


async def test_a_restart_posts_only_what_changed_meanwhile(folder: Path, service: ServiceDouble) -> None:
    for name in ("changed", "deleted", "kept", "touched"):
        (folder / name).write_text(name)
    await run_once(folder, service)
    service.events.clear()
    assert (await run_once(folder, service))[0] is ExitStatus.DONE
    assert service.events == []
    (folder / "changed").write_text("now")
    (folder / "deleted").unlink()
    (folder / "new").write_text("new")
    os.utime(folder / "touched", (1, 1))
    await run_once(folder, service)
    assert sorted(service.summaries) == [("delete", "deleted"), ("update", "changed"), ("upload", "new")]
    await run_once(folder, service)
    assert len(service.events) == 3


async def test_a_path_keeps_its_file_id_for_ever(folder: Path, service: ServiceDouble) -> None:
    for action in ((folder / "a").touch, (folder / "a").unlink, (folder / "a").touch):
        action()
        await run_once(folder, service)
    assert service.summaries == [("upload", "a"), ("delete", "a"), ("upload", "a")]
    assert len({event.body["file_id"] for event in service.events}) == 1


async def test_a_file_still_growing_is_left_alone_until_it_holds_still(folder: Path, service: ServiceDouble) -> None:
    async with watching(folder, service, settle_seconds=1.5):
        with (folder / "download").open("wb", buffering=0) as stream:
            for _ in range(10):
                stream.write(b"x" * 1000)
                await asyncio.sleep(0.02)  # the writer's pace, much faster than the watcher's patience
            assert service.events == []
        await until(lambda: service.summaries == [("upload", "download")])
    assert service.events[0].body["metadata"]["size"] == 10_000


async def test_a_name_that_is_not_utf8(folder: Path, service: ServiceDouble) -> None:
    path = folder / os.fsdecode(b"caf\xe9")
    async with watching(folder, service):
        path.write_text("first")
        await until(lambda: len(service.events) == 1)
        path.write_text("second")
        await until(lambda: len(service.events) == 2)
    metadata = service.events[1].body["metadata"]
    assert (metadata["path"], metadata["path_base64"]) == ("caf\ufffd", "Y2Fm6Q==")
    await run_once(folder, service)
    assert len(service.events) == 2


async def test_links_and_special_files_are_passed_over(folder: Path, service: ServiceDouble, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    (folder / "link").symlink_to(tmp_path / "outside" / "file")
    (folder / "linked").symlink_to(tmp_path / "outside", target_is_directory=True)
    os.mkfifo(folder / "pipe")
    assert (await run_once(folder, service))[0] is ExitStatus.DONE
    assert service.events == []


async def test_ignored_paths_are_neither_uploaded_nor_deleted(folder: Path, service: ServiceDouble) -> None:
    for name in ("kept.txt", "draft.txt~", "secret.key"):
        (folder / name).touch()
    await run_once(folder, service, ignore=("*~",))
    assert sorted(service.summaries) == [("upload", "kept.txt"), ("upload", "secret.key")]
    (folder / "secret.key").unlink()
    await run_once(folder, service, ignore=("*~", "*.key"))
    assert len(service.events) == 2


def test_once_reports_through_its_exit_status(folder: Path, service: ServiceDouble, run: Run) -> None:
    (folder / "file").write_text("content")
    done = run(str(folder), "--url", service.url, "--once")
    assert (done.returncode, service.summaries) == (0, [("upload", "file")])
    assert f"upload    file  (7 B, 1 block, event {service.events[0].event_id})" in done.stdout
    (folder / "file").write_text("changed")
    done = run(str(folder), "--url", service.url, "--once", "--token", "another")
    assert done.returncode == 3
    assert "stopped: the service says 401 Unauthorized The token is not valid." in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments", [["nowhere"], [".", "--url", "ftp://host"], [".", "--settle", "-1"], [".", "--attempts", "0"], []]
)
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "usage: watch_folder.py" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(folder: Path, service: ServiceDouble, number: signal.Signals) -> None:
    (folder / "file").touch()
    with start(folder, service) as process:
        assert process.stdout
        assert "upload    file" in process.stdout.readline()
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in output) == (0, False)
    assert [one.name for one in folder.iterdir()] == ["file"], "the state is outside the folder"
    [state] = (folder.parent / "sync-watch").glob("*.json")
    assert "file" in json.loads(state.read_text())["files"]


def test_a_state_file_of_an_earlier_version_in_the_folder_is_used(
    folder: Path, service: ServiceDouble, run: Run
) -> None:
    (folder / "file").touch()
    once = (str(folder), "--url", service.url, "--once")
    run(*once, "--state", str(folder / ".sync-watch.json"))
    done = run(*once)
    assert (done.returncode, service.summaries) == (0, [("upload", "file")])
    assert not (folder.parent / "sync-watch").exists()


def test_killed_between_post_and_save_it_makes_no_second_event(folder: Path, service: ServiceDouble, run: Run) -> None:
    accepted, over = threading.Event(), threading.Event()

    def accept_but_never_answer(handler: _Handler) -> None:
        handler.service.record(handler.key, handler.body)
        accepted.set()
        over.wait(60)
        handler.reset()

    service.faults.append(accept_but_never_answer)
    (folder / "file").touch()
    with start(folder, service) as process:
        assert accepted.wait(60)
        process.kill()
    over.set()
    done = run(str(folder), "--url", service.url, "--once")
    assert (done.returncode, len(service.events)) == (0, 1)
    assert service.keys == [service.events[0].key] * 2
    assert "known from an earlier attempt" in done.stdout


def test_two_watchers_do_not_share_a_state_file(folder: Path, service: ServiceDouble, run: Run) -> None:
    (folder / "file").touch()
    with start(folder, service) as first:
        assert first.stdout
        first.stdout.readline()
        second = run(str(folder), "--url", service.url, "--once")
        first.terminate()
    assert second.returncode == 3
    assert "another watcher is using" in second.stdout + second.stderr
