"""Lists the files of a folder, without reading them."""

import os
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

# Temporary files of vi, Emacs, office programs, browsers and file managers.
TEMPORARY_PATTERNS = (
    *("*~", ".*.sw?", "4913", ".#*", "#*#", "~$*", "*.tmp", "*.temp"),
    *("*.part", "*.crdownload", ".DS_Store", "Thumbs.db"),
)


class Fingerprint(NamedTuple):
    """Cheap evidence that a file has changed: size in bytes, times of content and inode change in ns."""

    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Fingerprint":
        """The fingerprint in a `stat` result."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Ignored:
    """The paths to leave out: `patterns` are globs for a whole path or one of its parts, `own` is exact."""

    patterns: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()

    def __contains__(self, path: str) -> bool:
        if path in self.own:
            return True
        names = (path, *path.split("/"))
        return any(fnmatchcase(name, pattern) for pattern in self.patterns for name in names)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Files by path relative to the folder (with `/`), and the reasons why some paths could not be read."""

    files: dict[str, Fingerprint] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def lacks(self, path: str) -> bool:
        """Whether `path` is certainly gone: neither present nor below an unreadable path."""
        if path in self.files:
            return False
        return not any(str(part) in self.problems for part in (path, *PurePosixPath(path).parents))


def scan(folder: Path, ignored: Ignored) -> Snapshot:
    """List the regular files below `folder`. Symbolic links are not followed, special files are skipped.

    Raises:
        OSError: `folder` itself cannot be listed.
    """
    snapshot = Snapshot()
    pending = [""]
    while pending:
        directory = pending.pop()
        try:
            pending += _list(folder, directory, ignored, snapshot)
        except FileNotFoundError:
            if not directory:
                raise
        except OSError as error:
            if not directory:
                raise
            snapshot.problems[directory] = reason(error)
    return snapshot


def _list(folder: Path, directory: str, ignored: Ignored, snapshot: Snapshot) -> list[str]:
    """Add the files of one directory to `snapshot` and return its directories."""
    directories = []
    with os.scandir(folder / directory) as entries:
        for entry in entries:
            path = f"{directory}/{entry.name}" if directory else entry.name
            if path in ignored:
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(path)
                elif entry.is_file(follow_symlinks=False):
                    snapshot.files[path] = Fingerprint.of(entry.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue
            except OSError as error:
                snapshot.problems[path] = reason(error)
    return directories


def reason(error: OSError) -> str:
    """Why the system refused, without the path."""
    return (error.strerror or str(error)).lower()
