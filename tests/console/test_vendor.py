"""The libraries of the console are those that are listed, and load nothing from elsewhere."""

import hashlib
import json
import re

from app.console.router import DIRECTORY


def test_libraries_are_those_that_are_listed() -> None:
    vendor = DIRECTORY / "vendor"
    listed = json.loads((vendor / "vendor.json").read_text())
    found = {str(path.relative_to(vendor)) for path in vendor.rglob("*") if path.is_file()} - {"vendor.json"}
    files = {f"{name}/{file}": entry for name, library in listed.items() for file, entry in library["files"].items()}
    assert set(files) == found
    for name, entry in files.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == entry["sha256"], name
    for name, library in listed.items():
        assert library["version"]
        assert library["license"]
        assert "LICENSE" in library["files"], name


def test_no_script_imports_from_elsewhere() -> None:
    for path in DIRECTORY.rglob("*.js"):
        imported = re.findall(r"""(?:\bfrom|\bimport)\s*["']([\w@./-]+)["']""", path.read_text())
        assert [name for name in imported if not name.startswith(("./", "../"))] == [], path
