"""The client as a package of its own, installed into a fresh environment without what the service needs."""

import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sync_client
from tests.conftest import ROOT

CHECK = """
import importlib.resources, importlib.util, sync_client
from sync_client import BlockingSyncClient, SyncClient, verify
for name in ("app", "fastapi", "sqlalchemy", "uvicorn"):
    assert importlib.util.find_spec(name) is None, name
assert importlib.resources.files("sync_client").joinpath("py.typed").is_file()
with BlockingSyncClient("http://127.0.0.1:9", "token", max_retries=0) as sync:
    try:
        sync.health()
    except sync_client.Unavailable:
        print(sync_client.__version__)
"""


def pip(*arguments: str) -> None:
    """Run pip; what it has to fetch comes from the index that it is configured for."""
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True, timeout=100)


def _needed(requirements: Iterable[str]) -> Iterator[Distribution]:
    """The installed packages that meet these requirements, and what they need in turn, each once."""
    seen: set[str] = set()
    wanted = [*requirements]
    while wanted:
        requirement = Requirement(wanted.pop())
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = distribution(requirement.name)
        assert found.version in requirement.specifier, requirement
        if canonicalize_name(requirement.name) in seen:
            continue
        seen.add(canonicalize_name(requirement.name))
        yield found
        wanted += found.requires or []


@pytest.mark.slow
def test_it_works_alone(tmp_path: Path) -> None:
    """Beside copies of what it names as its needs; only the tool that builds it comes from the index."""
    shutil.copytree(ROOT / "sync_client", tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(tmp_path / "source"))
    [wheel] = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    [packages] = (tmp_path / "venv" / "lib").glob("*/site-packages")
    shutil.unpack_archive(wheel, packages, "zip")
    [metadata] = packages.glob("*.dist-info")
    for needed in _needed(Distribution.at(metadata).requires or []):
        for top in {file.parts[0] for file in needed.files or [] if ".." not in file.parts}:
            (packages / top).symlink_to(Path(str(needed.locate_file(top))))
    python = str(tmp_path / "venv" / "bin" / "python")
    done = subprocess.run([python, "-I", "-c", CHECK], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == sync_client.__version__


def test_its_packages_and_its_version_are_listed() -> None:
    project = tomllib.loads((ROOT / "sync_client" / "pyproject.toml").read_text())
    folders = {path.parent for path in (ROOT / "sync_client").rglob("*.py")}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(project["tool"]["setuptools"]["packages"]) == packages
    changes = (ROOT / "sync_client" / "CHANGELOG.md").read_text()
    assert f"\n## {sync_client.__version__}\n" in changes
    assert sorted(sync_client.__all__) == sync_client.__all__
