"""The command line of the watcher."""

import argparse
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from sync_client import RetryPolicy
from watcher.scanner import TEMPORARY_PATTERNS

DESCRIPTION = """Watches FOLDER, cuts each file into 4 MiB blocks with their SHA-256, and reports every
new, changed or removed file to Sync Service. A state file holds the reported state of the files, so a restart
reports only later changes. A token of local mode comes from `python -m app token`."""
EPILOG = """Exit status: 0 everything was posted; 1 something could not be read or posted, the next run tries
again; 2 wrong usage; 3 the service refuses the token or is not there at this address, or the folder or state
file cannot be used; 130 interrupted before --once was done. Watching ends with Ctrl-C or SIGTERM."""
EARLIER_STATE = ".sync-watch.json"
MAX_SECONDS = 86_400
MAX_ATTEMPTS = 1000


@dataclass(frozen=True, slots=True)
class Options:
    """The folder to watch, the service, and further options."""

    folder: Path
    url: str
    token: str
    state: Path
    once: bool = False
    ignore: tuple[str, ...] = ()
    settle_seconds: float = 1.0
    rescan_seconds: float = 30.0
    policy: RetryPolicy = field(default_factory=RetryPolicy)


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line, by default that of this process.

    Raises:
        SystemExit: 2, after a message, when it is invalid.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    folder: Path = given.folder.resolve()
    if not folder.is_dir():
        parser.error(f"{given.folder} is not a folder")
    if not given.token:
        parser.error("a token is needed: --token, or better the variable SYNC_TOKEN")
    if not (given.token.isascii() and given.token.isprintable() and " " not in given.token):
        parser.error("the token has characters that no token has")
    temporary = TEMPORARY_PATTERNS if given.ignore_temporary else ()
    return Options(
        folder=folder,
        url=given.url,
        token=given.token,
        state=(given.state or default_state(folder)).resolve(),
        once=given.once,
        ignore=(*given.ignore, *temporary),
        settle_seconds=given.settle,
        rescan_seconds=given.rescan,
        policy=RetryPolicy(attempts=given.attempts),
    )


def default_state(folder: Path) -> Path:
    """The state file of `folder`, outside it: a state file inside would itself change the watched folder.

    A state file that an earlier version left in the folder is still used.
    """
    earlier = folder / EARLIER_STATE
    if earlier.exists():
        return earlier
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    base = base if base.is_absolute() else Path.home() / ".local" / "state"  # as the XDG specification says
    states = base / "sync-watch"
    states.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return states / f"{digest}.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="watch_folder.py", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the folder to watch, with all below it")
    parser.add_argument("--url", type=_url, default="http://127.0.0.1:8000", help="the service (%(default)s)")
    parser.add_argument(
        "--token",
        type=str.strip,
        default=os.environ.get("SYNC_TOKEN", "").strip(),
        help="bearer token; the variable SYNC_TOKEN keeps it out of the process list",
    )
    parser.add_argument("--once", action="store_true", help="post new changes and exit instead of watching")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="state file, one per folder and service (in $XDG_STATE_HOME/sync-watch, or ~/.local/state/sync-watch)",
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out paths, or parts of paths, that match this glob pattern; may be repeated",
    )
    parser.add_argument("--ignore-temporary", action="store_true", help="leave out temporary files of programs")
    parser.add_argument(
        "--settle",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="time for which a file must stay unchanged (%(default)s)",
    )
    parser.add_argument(
        "--rescan",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="scan everything at least this often, for changes without a notification (%(default)s)",
    )
    parser.add_argument(
        "--attempts",
        type=_count,
        default=6,
        metavar="N",
        help="attempts to post an event in one pass (%(default)s)",
    )
    return parser


def _url(text: str) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise argparse.ArgumentTypeError("must begin with http:// or https:// and name a host")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError("must be a number of seconds above 0, at most a day")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_ATTEMPTS:
        raise argparse.ArgumentTypeError("must be a number from 1 to 1000")
    return int(text)
