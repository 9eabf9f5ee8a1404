"""Watches a folder and reports every new, changed or removed file to Sync Service; see `--help`.

An example of a careful client: idempotency keys that survive a crash, retries with backoff, and a state file
with which a restart posts only new changes. Its parts are in `watcher/`.
"""

import asyncio
import io
import signal
import sys
from collections.abc import Sequence

from rich.console import Console
from watcher.live_display import LiveDisplay
from watcher.options import Options, parse_options
from watcher.plain_display import PlainDisplay
from watcher.runner import ExitStatus, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    options = parse_options(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return asyncio.run(_run(options))
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED


async def _run(options: Options) -> ExitStatus:
    stop = asyncio.Event()
    _stop_at_signals(stop)
    console = Console()
    if not console.is_terminal:
        return await run(options, PlainDisplay(), stop)
    with LiveDisplay(console, f"{options.folder} → {options.url}") as display:
        return await run(options, display, stop)


def _stop_at_signals(stop: asyncio.Event) -> None:
    """Let the first Ctrl-C or SIGTERM set `stop`; a second one ends the program at once."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def on_signal() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        try:
            loop.add_signal_handler(number, on_signal)
        except NotImplementedError:  # Windows: Ctrl-C then raises KeyboardInterrupt, which the state file survives
            return


if __name__ == "__main__":
    raise SystemExit(main())
