"""Compares the known files with the present files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from watcher.scanner import Fingerprint, Snapshot
from watcher.state import FileRecord


@dataclass(slots=True)
class Difference:
    """`changed`: settled files to read. `gone`: files settled as missing. `settling`: the number of others.

    `missing` maps content digests to known paths that are missing, settled or not: new files may stem from them.
    """

    changed: dict[str, Fingerprint] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    settling: int = 0
    missing: dict[str, str] = field(default_factory=dict)


def compare(
    snapshot: Snapshot,
    known: Mapping[str, FileRecord],
    has_settled: Callable[[str, Fingerprint | None], bool],
) -> Difference:
    """Compare by fingerprint alone; whether the content differs shows when it is read."""
    difference = Difference()
    for path, fingerprint in sorted(snapshot.files.items()):
        if path in known and known[path].fingerprint == fingerprint:
            continue
        if has_settled(path, fingerprint):
            difference.changed[path] = fingerprint
        else:
            difference.settling += 1
    for path, record in sorted(known.items()):
        if not snapshot.lacks(path):
            continue
        if record.fingerprint.size:
            difference.missing[record.digest] = path
        if has_settled(path, None):
            difference.gone.append(path)
        else:
            difference.settling += 1
    return difference
