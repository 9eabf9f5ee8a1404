"""`python -m app`: the command line."""

import signal
import sys
from types import FrameType


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


# Before the imports, which take a second: as a container's first process, one without a handler would never hear the
# signal. uvicorn puts its own handler in front, and sends itself the signal once more after an orderly end.
signal.signal(signal.SIGTERM, _end)

from app.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
