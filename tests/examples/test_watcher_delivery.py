"""The watcher against a service that fails: what is tried again, what is given up, and that nothing doubles."""

import os
import time
from pathlib import Path

import pytest
from watcher.runner import ExitStatus

from tests.examples.service_double import Fault, ServiceDouble, problem, reset_after_accepting, reset_unread
from tests.examples.watcher_run import QUICK, run_once, until, watching


@pytest.mark.parametrize(
    "faults",
    [
        [problem(503, "busy", {"Retry-After": "0"})],
        [problem(429, "too many"), problem(500, "bug"), problem(408, "slow")],
        [reset_unread],
        [reset_after_accepting, reset_after_accepting],
    ],
)
async def test_temporary_failures_are_tried_again_with_the_same_key(
    folder: Path, service: ServiceDouble, faults: list[Fault]
) -> None:
    service.faults.extend(faults)
    (folder / "file").touch()
    assert (await run_once(folder, service))[0] is ExitStatus.DONE
    assert len(service.events) == 1
    assert service.keys == [service.events[0].key] * (len(faults) + 1)


@pytest.mark.slow
async def test_retry_after_is_honoured(folder: Path, service: ServiceDouble) -> None:
    service.faults.append(problem(503, "busy", {"Retry-After": "1"}))
    (folder / "file").touch()
    started = time.monotonic()
    await run_once(folder, service)
    assert len(service.events) == 1
    assert time.monotonic() - started >= 1


async def test_an_event_given_up_is_posted_by_the_next_run_with_the_same_key(
    folder: Path, service: ServiceDouble
) -> None:
    service.faults.extend([reset_unread] * (QUICK.attempts - 1) + [reset_after_accepting])
    (folder / "file").touch()
    status, display = await run_once(folder, service)
    assert status is ExitStatus.INCOMPLETE
    assert "given up for now" in display.notes[-1]
    assert (await run_once(folder, service))[0] is ExitStatus.DONE
    assert len(service.events) == 1
    assert len(set(service.keys)) == 1


async def test_what_was_recorded_before_an_outage_is_posted_before_what_came_after(
    folder: Path, service: ServiceDouble
) -> None:
    service.faults.extend([problem(503, "down")] * QUICK.attempts)
    (folder / "file").write_text("one")
    await run_once(folder, service)
    (folder / "file").unlink()
    await run_once(folder, service)
    assert service.summaries == [("upload", "file"), ("delete", "file")]


async def test_a_long_retry_after_ends_the_run(folder: Path, service: ServiceDouble) -> None:
    service.faults.append(problem(503, "closed for the night", {"Retry-After": "3600"}))
    (folder / "file").touch()
    status, display = await run_once(folder, service)
    assert status is ExitStatus.INCOMPLETE
    assert "closed for the night" in display.notes[-1]
    assert len(service.keys) == 1


async def test_a_rejected_event_holds_up_no_other_file(folder: Path, service: ServiceDouble) -> None:
    errors = [{"loc": ["body", "metadata"], "msg": "too long", "type": "x"}]
    service.faults.append(problem(422, "not valid", errors=errors))
    for name in ("a", "b", "c"):
        (folder / name).touch()
    status, display = await run_once(folder, service)
    assert status is ExitStatus.INCOMPLETE
    assert len(service.events) == 2
    assert [note for note in display.notes if "422 Problem not valid (body.metadata: too long)" in note]


async def test_watching_tries_a_rejected_file_again_only_when_it_changes(folder: Path, service: ServiceDouble) -> None:
    service.faults.append(problem(422, "not valid"))
    async with watching(folder, service):
        (folder / "file").write_text("bad")
        await until(lambda: len(service.keys) == 1)
        (folder / "other").write_text("good")
        await until(lambda: service.summaries == [("upload", "other")])
        assert len(service.keys) == 2
        (folder / "file").write_text("better")
        await until(lambda: ("upload", "file") in service.summaries)


@pytest.mark.parametrize("status", [401, 403, 404, 405, 301])
async def test_a_refusal_stops_the_run_and_loses_nothing(folder: Path, service: ServiceDouble, status: int) -> None:
    service.faults.append(problem(status, "no"))
    (folder / "file").touch()
    result, display = await run_once(folder, service)
    assert result is ExitStatus.UNUSABLE
    assert f"{status} Problem no; check --url and the token" in display.notes[-1]
    assert (await run_once(folder, service))[0] is ExitStatus.DONE
    assert len(service.events) == 1


async def test_watching_survives_an_outage(
    folder: Path, service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watcher.runner.OUTAGE_SECONDS", 0.05)
    service.faults.extend([problem(503, "down")] * (2 * QUICK.attempts + 1))
    async with watching(folder, service) as display:
        (folder / "file").touch()
        await until(lambda: service.summaries == [("upload", "file")])
        assert [note for note in display.notes if "503" in note] == [
            "trying again and again: the service says 503 Problem down"
        ]


async def test_an_answer_that_is_not_the_services_stops_the_run(folder: Path, service: ServiceDouble) -> None:
    service.faults.append(lambda handler: handler.answer(200, {"welcome": "log in first"}))
    (folder / "file").touch()
    status, display = await run_once(folder, service)
    assert status is ExitStatus.UNUSABLE
    assert "does not respond as Sync Service does" in display.notes[-1]


async def test_unreadable_files_and_folders_are_reported_and_not_deleted(
    folder: Path, service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "closed").mkdir()
    (folder / "closed" / "inside").touch()
    (folder / "file").touch()
    await run_once(folder, service)
    real_scandir, real_open = os.scandir, os.open

    def scandir(path: Path) -> object:
        if path == folder / "closed":
            raise PermissionError(13, "Permission denied")
        return real_scandir(path)

    def open_(path: Path, *arguments: int) -> int:
        if path == folder / "file":
            raise PermissionError(13, "Permission denied")
        return real_open(path, *arguments)

    (folder / "file").write_text("changed")
    monkeypatch.setattr("watcher.scanner.os.scandir", scandir)
    monkeypatch.setattr("watcher.reader.os.open", open_)
    status, display = await run_once(folder, service)
    assert status is ExitStatus.INCOMPLETE
    assert sorted(display.notes) == ["left out: closed: permission denied", "left out: file: permission denied"]
    assert len(service.events) == 2


async def test_a_folder_that_goes_away_is_not_taken_for_a_folder_of_deleted_files(
    folder: Path, service: ServiceDouble
) -> None:
    (folder / "file").touch()
    async with watching(folder, service, ending=ExitStatus.UNUSABLE) as display:
        await until(lambda: len(service.events) == 1)
        _exchange(folder)
        await until(lambda: bool(display.notes))
    assert "stopped:" in display.notes[-1]
    assert len(service.events) == 1
    assert not _names(folder)


async def test_a_folder_that_is_not_mounted_at_the_start_is_no_folder_of_deleted_files(
    folder: Path, service: ServiceDouble
) -> None:
    (folder / "file").touch()
    await run_once(folder, service)
    _exchange(folder)
    status, display = await run_once(folder, service)
    assert (status, len(service.events)) == (ExitStatus.UNUSABLE, 1)
    assert "is not the folder that" in display.notes[-1]


def _exchange(folder: Path) -> None:
    """What unmounting does: another, empty folder is there instead."""
    folder.rename(folder.with_name("unmounted"))
    folder.mkdir()


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
