"""Hostile texts, and how a test reads a line back."""

import json
import logging
import re
from typing import Any

import pytest

from tests.log.text_line import read_text_line

HOSTILE = [
    "a\nlevel='error' event='forged'",
    "a\r\n{}",
    '{"event": "forged"}\n',
    "\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "nul\0",
    "line\N{LINE SEPARATOR}paragraph\N{PARAGRAPH SEPARATOR}next\x85end\x0b\x0c\x1c",
    "\N{RIGHT-TO-LEFT OVERRIDE}reversed",
    "half \ud800",
    "' event='forged'",
    "%s %d {} \\",
]
both_modes = pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
hostile_values = pytest.mark.parametrize("value", HOSTILE, ids=ascii)


def read_printed(capsys: pytest.CaptureFixture[str]) -> Any:
    """The output so far, with the lines of the requests of this turn of the event loop."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    return capsys.readouterr()


def read_record(capsys: pytest.CaptureFixture[str], as_json: bool) -> tuple[dict[str, Any], list[str]]:
    """The one record that was logged, and the lines of its traceback in text mode."""
    printed = read_printed(capsys)
    assert printed.out == ""
    assert printed.err.endswith("\n")
    line, *more = printed.err[:-1].split("\n")
    assert [line, *more] == printed.err.splitlines(), repr(printed.err)
    if as_json:
        assert re.fullmatch(r"[ -~]+", line), repr(line)
        assert more == []
        return json.loads(line), []
    for continuation in more:
        assert continuation.startswith("    | "), repr(continuation)
        assert continuation.isprintable(), repr(continuation)
    return read_text_line(line), more
