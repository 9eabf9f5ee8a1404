"""The file of a Unix socket is removed at the end by the process that made it, if it is still there."""

import socket
from pathlib import Path

from app.http.connection import removing


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def test_the_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    _bind(path)
    with removing(path):
        assert path.is_socket()
    assert not path.exists()


def test_a_socket_that_vanishes_before_or_after_the_begin_leaves_nothing_to_remove(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with removing(path):
        _bind(path)  # a successor's
    assert path.is_socket()
    with removing(path):
        path.unlink()
    assert not path.exists()
