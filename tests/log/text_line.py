"""Reads log lines of the text format back: what a value holds must come out as that value, and as nothing else."""

import ast
import re
from typing import Any

_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_PAIR = rf"(?:{_QUOTED}|[A-Za-z_][\w.-]*)=(?:{_QUOTED}|[^\s'\"=]+)"
_LINE = re.compile(
    r"(?P<timestamp>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z)  (?P<level>[a-z]+) *  "
    rf"(?P<event>{_QUOTED}|(?:(?!  )[^'\"])(?:(?!  ).)*)"
    rf"(?:  (?P<pairs>{_PAIR}(?: {_PAIR})*))?  \[(?P<logger>{_QUOTED}|[^\s'\"\]]+)\]"
)
_ONE_PAIR = re.compile(rf"(?P<name>{_QUOTED}|[A-Za-z_][\w.-]*)=(?P<value>{_QUOTED}|[^\s'\"=]+)")


def read_text_line(line: str) -> dict[str, Any]:
    """The fields of a line, all of them text.

    Raises:
        AssertionError: when it is not one line of the format, of printable characters alone.
    """
    assert line.isprintable(), repr(line)
    found = _LINE.fullmatch(line)
    assert found, repr(line)
    fields = {name: _unquoted(found[name]) for name in ("timestamp", "level", "event", "logger")}
    for pair in _ONE_PAIR.finditer(found["pairs"] or ""):
        name = _unquoted(pair["name"])
        assert name not in fields, repr(line)
        fields[name] = _unquoted(pair["value"])
    return fields


def _unquoted(text: str) -> str:
    return str(ast.literal_eval(text)) if text[0] in "'\"" else text
