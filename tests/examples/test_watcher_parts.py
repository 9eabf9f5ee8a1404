"""The pure parts of the watcher."""

import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from watcher.block import BLOCK_BYTES, Blocks, cut
from watcher.display import printable, readable_size
from watcher.live_display import _TYPE_STYLES
from watcher.metadata import METADATA_MAX_BYTES, describe_content, describe_deletion
from watcher.plain_display import PlainDisplay
from watcher.reader import FileChanged, read_blocks
from watcher.scanner import TEMPORARY_PATTERNS, Fingerprint, Ignored, Snapshot
from watcher.settling import Settling
from watcher.state import EventType, FileRecord, Intent, State, StateError, StateFile

from app.events.models import EventType as LedgerEventType

FINGERPRINT = Fingerprint(5, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789)
RECORD = FileRecord("id", "digest", 1, FINGERPRINT)
NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (0, []),
        (1, [1]),
        (BLOCK_BYTES - 1, [BLOCK_BYTES - 1]),
        (BLOCK_BYTES, [BLOCK_BYTES]),
        (BLOCK_BYTES + 1, [BLOCK_BYTES, 1]),
        (2 * BLOCK_BYTES, [BLOCK_BYTES] * 2),
    ],
)
def test_blocks_are_cut_at_4_mib(size: int, sizes: list[int]) -> None:
    heard: list[int] = []
    blocks = cut(io.BytesIO(bytes(size)), heard.append)
    assert (blocks.size, heard) == (size, sizes)
    assert blocks.digests == tuple(hashlib.sha256(bytes(part)).digest() for part in sizes)
    assert blocks.root == hashlib.sha256(b"".join(blocks.digests)).hexdigest()


def test_a_file_that_changes_while_it_is_read_is_not_digested(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    fingerprint = Fingerprint.of(path.stat())

    def disturb(_size: int) -> None:
        path.write_text("meanwhile")

    with pytest.raises(FileChanged):
        read_blocks(path, fingerprint, disturb)
    with pytest.raises(FileChanged):
        read_blocks(path, fingerprint, lambda _size: None)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="symbolic links"):
        read_blocks(tmp_path / "link", FINGERPRINT, lambda _size: None)


@pytest.mark.parametrize("path", ["file", "ordner/größe 文件", "\udcff" * 50, '"\\\x01' * 100])
def test_metadata_always_fits(path: str) -> None:
    counts = (0, 1, 150, 200, 220, 240, 241, 242, 243, 244, 245, 246, 250, 10_000)
    seen = set()
    for count in counts:
        blocks = Blocks(count * BLOCK_BYTES, tuple(hashlib.sha256(b"%d" % n).digest() for n in range(count)))
        metadata = describe_content(path, FINGERPRINT, blocks, ("old\udcff", RECORD))
        text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"))
        assert len(text.encode()) <= METADATA_MAX_BYTES
        assert (metadata["block_count"], metadata["blocks_sha256"]) == (count, blocks.root)
        assert metadata.get("blocks") in (None, [digest.hex() for digest in blocks.digests])
        seen.add("blocks" in metadata)
    assert seen == {True, False}


def test_metadata_of_a_time_out_of_range() -> None:
    metadata = describe_content("a", FINGERPRINT._replace(modified_ns=2**70), Blocks(0, ()))
    assert metadata["modified_at"] is None
    assert describe_content("a", FINGERPRINT, Blocks(0, ()))["modified_at"] == "2023-11-14T22:13:20.123456Z"


def test_metadata_of_a_deletion() -> None:
    assert describe_deletion("a", RECORD) == {"path": "a", "size": 5, "blocks_sha256": "digest"}


def test_a_change_settles_when_it_has_looked_the_same_for_long_enough() -> None:
    settling = Settling(2.0)
    recent = FINGERPRINT.changed_ns / 1e9 + 1

    def looks(fingerprint: Fingerprint | None, clock: float, wall_clock: float = recent) -> bool:
        return settling.has_settled("path", fingerprint, clock=clock, wall_clock=wall_clock)

    assert [looks(FINGERPRINT, 10), looks(FINGERPRINT, 11.9), looks(FINGERPRINT, 12)] == [False, False, True]
    assert [looks(FINGERPRINT._replace(size=6), 12), looks(None, 13), looks(None, 15)] == [False, False, True]
    settling.keep_only([])
    assert not looks(None, 16)
    assert looks(FINGERPRINT, 17, wall_clock=recent + 1), "its own times say that it is old"
    assert not looks(FINGERPRINT._replace(size=7), 18, wall_clock=0), "its times lie in the future"


def test_what_is_ignored() -> None:
    ignored = Ignored(TEMPORARY_PATTERNS, frozenset({"sub/.state"}))
    assert all(path in ignored for path in ("sub/.state", "a.txt~", "sub/.a.swp", ".#lock", "x.part/inside", "4913"))
    assert not any(path in ignored for path in (".state", "a.txt", "swp", "template.txt"))


def test_below_an_unreadable_folder_nothing_is_surely_gone() -> None:
    snapshot = Snapshot({"there": FINGERPRINT}, {"closed": "permission denied"})
    assert [snapshot.lacks(path) for path in ("there", "gone", "closed", "closed/a", "closed/b/c", "closed2")] == [
        False,
        True,
        False,
        False,
        False,
        True,
    ]


def test_the_state_survives_its_file(tmp_path: Path) -> None:
    intent = Intent("\udcff", "key", "id", "update", {"path": "\ufffd"}, RECORD)
    state = State(files={"a": RECORD, "\udcff": RECORD}, pending={"\udcff": intent, "b": _as_deletion(intent)})
    file = StateFile(tmp_path / "state", tmp_path)
    file.save(state)
    assert file.load() == state
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def _as_deletion(intent: Intent) -> Intent:
    return intent._replace(path="b", event_type="delete", record=None)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "folder_id": "x"}', "\udcff"])
def test_a_damaged_state_file_is_not_taken_for_an_empty_one(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state"
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(StateError, match="is not a state file"):
        StateFile(path, tmp_path).load()


def test_a_state_file_that_can_not_be_written(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "nowhere" / "state", tmp_path)
    with pytest.raises(StateError, match="cannot be written"):
        file.save(State())
    with pytest.raises(StateError, match="see --state"), file.lock():
        pass


def test_file_ids_differ_by_path_and_folder() -> None:
    state, other = State(), State()
    ids = {state.file_id("a"), state.file_id("b"), state.file_id("\udcff"), state.file_id("%FF"), other.file_id("a")}
    assert len(ids) == 5
    assert State(state.folder_id).file_id("a") == state.file_id("a")


def test_nothing_can_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[31m\n\udcff\u202eé") == "a\\x1b[31m\\n\\xff\\u202eé"
    PlainDisplay().note("\x1b]0;title\x07")
    assert "\x1b" not in capsys.readouterr().out


def test_sizes_for_people() -> None:
    sizes = (0, 1023, 1024, 10 * 1024**2, 3 * 1024**5)
    assert [readable_size(size) for size in sizes] == ["0 B", "1023 B", "1.0 KiB", "10.0 MiB", "3072.0 TiB"]


def test_the_watcher_knows_each_event_type() -> None:
    assert set(get_args(EventType)) == set(LedgerEventType), "examples/watcher/state.py"
    assert set(_TYPE_STYLES) == set(LedgerEventType), "examples/watcher/live_display.py"
