"""Does what curl does with the lines on the project's pages."""

import argparse
import shlex
from pathlib import Path
from typing import Any

import httpx

from tests.docs.conftest import AUTHORITY
from tests.docs.markdown import code_blocks
from tests.support.process import ServiceProcess


def curl_lines(page: Path, service: ServiceProcess, token: str) -> list[list[str]]:
    """The arguments of each call of curl on a page, for our service and with our token."""
    lines = "\n".join(code_blocks(page, "bash")).replace("\\\n", " ").splitlines()
    calls = [words for words in (shlex.split(line, comments=True) for line in lines) if words[:1] == ["curl"]]
    ours = {f"http://{AUTHORITY}": service.url, "$TOKEN": token}
    return [[_replace(word, ours) for word in words[1:]] for words in calls]


def curl(words: list[str]) -> httpx.Response:
    """The answer to a call with these arguments."""
    return httpx.request(**request(words), timeout=10)


def request(words: list[str]) -> dict[str, Any]:
    """The request that it makes."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("url")
    parser.add_argument("-X", default="GET")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d")
    parser.add_argument("--no-buffer", action="store_true")
    options = parser.parse_args(words)
    headers = dict(header.split(": ", 1) for header in options.H)
    return {"method": options.X, "url": options.url, "headers": headers, "content": options.d}


def _replace(word: str, pairs: dict[str, str]) -> str:
    for old, new in pairs.items():
        word = word.replace(old, new)
    return word
