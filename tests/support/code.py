"""Runs its argument as `python -c` does, for `ForkServer`."""

import sys

exec(compile(sys.argv[1], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - a test's own words
