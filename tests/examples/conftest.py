"""Fixtures for the examples: their folder on the import path, and a service to talk to."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from tests.examples.service_double import ServiceDouble  # noqa: E402 - after the path is set


@pytest.fixture
def service() -> Iterator[ServiceDouble]:
    """A service of its own for the test."""
    with ServiceDouble() as double:
        yield double


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder to watch."""
    path = tmp_path / "folder"
    path.mkdir()
    return path
