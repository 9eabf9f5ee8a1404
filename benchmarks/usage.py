"""The use of resources: CPU time and memory of a process and everything below it."""

from contextlib import suppress

import psutil

MIB = 2**20


def cpu_seconds(pid: int) -> float:
    """User and system time of the whole tree so far, including processes that have ended."""
    root = psutil.Process(pid)
    times = root.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in root.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            own = child.cpu_times()
            total += own.user + own.system
    return total


def resident_mib(pid: int) -> float:
    """Resident memory of the tree, in MiB; pages that its processes share count once for each."""
    root = psutil.Process(pid)
    total = 0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / MIB
