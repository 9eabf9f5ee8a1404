"""`python -m app`: the command line."""

import signal
import sys
from types import FrameType


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # as a shell reports it


# Before the imports, which take a second: as a container's first process, one without a handler would never hear the
# signal.
signal.signal(signal.SIGTERM, _end)

from app.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
