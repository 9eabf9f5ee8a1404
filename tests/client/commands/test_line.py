"""Changes as lines: what they say, and that nothing in them steers a terminal."""

import json
from typing import Any

from sync_client import Change
from sync_client.commands.line import render_json, render_text
from tests.client.test_answers import EVENT

FILE_ID = EVENT["file_id"]


def change(**members: Any) -> Change:
    return Change.model_validate(EVENT | {"position": 42, "cursor": "abc~42"} | members)


def test_a_line_has_time_position_type_and_file() -> None:
    assert render_text(change(), colours=False) == f"2026-01-15 10:30:00.000Z        42  upload  {FILE_ID}"


def test_anomaly_and_metadata_follow() -> None:
    odd = change(anomaly="delete_of_unknown_file", event_type="delete", metadata={"path": "ä b.txt"})
    assert render_text(odd, colours=False).endswith(f'delete  {FILE_ID}  delete_of_unknown_file  {{"path":"ä b.txt"}}')


def test_colours_only_when_asked_for() -> None:
    odd = change(anomaly="x", metadata={"a": 1})
    coloured = render_text(odd, colours=True)
    assert "\x1b[32mupload\x1b[0m" in coloured
    plain = render_text(odd, colours=False)
    assert "\x1b" not in plain
    assert plain != coloured


def test_nothing_that_a_sender_wrote_steers_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07\r\n\u009b31m\u202e\ud800"
    line = render_text(change(metadata={"path": hostile[:-1], hostile[:-1]: 1}, anomaly=hostile[:-1]), colours=False)
    assert line.isprintable()
    assert render_json(change(metadata={"path": hostile[:-1]})).isprintable()
    assert "\\x1b" in line


def test_a_long_line_is_cut() -> None:
    line = render_text(change(metadata={"path": "x" * 16_000}), colours=False)
    assert len(line) < 300
    assert line.endswith("…")


def test_json_has_everything_and_where_to_go_on() -> None:
    content = json.loads(render_json(change(metadata={"path": "ä"})))
    assert content["cursor"] == "abc~42"
    assert EVENT.items() - {("metadata", None)} <= {(key, value) for key, value in content.items() if key != "metadata"}
    assert content["metadata"] == {"path": "ä"}
