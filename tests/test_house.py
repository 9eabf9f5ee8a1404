"""Names the places that were forgotten when a package, a handler, a router or a table was added."""

import ast
import re
import tomllib
from pathlib import Path

from tests.conftest import ROOT

APP = ROOT / "app"
PACKAGES = sorted(path.parent.name for path in APP.glob("*/__init__.py"))
MODULES = sorted(path.stem for path in APP.glob("*.py") if not path.stem.startswith("__"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def _is_handler(node: ast.ClassDef) -> bool:
    return any(
        isinstance(one, ast.AsyncFunctionDef)
        and one.name == "handle"
        and [argument.arg for argument in one.args.args] == ["self", "session", "positions"]
        for one in node.body
    )


def _imported(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_each_package_and_module_has_its_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [one["layers"] for one in contracts if one["type"] == "layers"]
    named = {name.strip() for layer in layers for name in layer.split("|")}
    assert named == {f"app.{name}" for name in [*PACKAGES, *MODULES]}, "the layers in pyproject.toml"


def test_each_package_is_described_to_contributors() -> None:
    rows = re.findall(r"^\| (`app/\w+`.*?) \|", CONTRIBUTING, re.MULTILINE)
    assert sorted(re.findall(r"`app/(\w+)`", " ".join(rows))) == PACKAGES, "the table in CONTRIBUTING.md"


def test_contributors_are_sent_to_files_that_exist() -> None:
    named = re.findall(r"`((?:app|alembic|docs|examples|sync_client|tests)/[\w./]*)`", CONTRIBUTING)
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert len(named) > 20


def test_each_handler_is_run_by_the_sweep() -> None:
    trees = [ast.parse(path.read_text()) for path in APP.rglob("*.py") if path != APP / "sweep" / "sweeper.py"]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    handlers = {one.name for one in classes if _is_handler(one)}
    calls = [node for node in ast.walk(ast.parse((APP / "lifespan.py").read_text())) if isinstance(node, ast.Call)]
    assert handlers - {call.func.id for call in calls if isinstance(call.func, ast.Name)} == set(), "app/lifespan.py"
    assert handlers


def test_each_router_is_in_the_application() -> None:
    assert {_module(path) for path in APP.rglob("router.py")} - _imported("app/main.py") == set(), "app/main.py"


def test_each_table_is_known_to_alembic() -> None:
    models = {_module(path) for path in APP.glob("*/models.py")}
    assert models - _imported("alembic/env.py") == set(), "alembic/env.py"
    assert models - _imported("tests/database/test_choices.py") == set(), "tests/database/test_choices.py"


def test_each_package_has_tests_of_its_name() -> None:
    tests = ROOT / "tests"
    assert [one for one in PACKAGES if not (tests / one).is_dir() and not (tests / f"test_{one}.py").is_file()] == []


def test_the_environments_have_the_same_pins() -> None:
    """CI installs what the checks need beside running tests, which must find no other version then."""
    runtime, tests, bench, checks = (
        dict(re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;\\]+)", (ROOT / path).read_text(), re.MULTILINE))
        for path in ("requirements/runtime.txt", "requirements.txt", "requirements/bench.txt", "requirements/dev.txt")
    )
    assert runtime.items() <= tests.items() <= bench.items() <= checks.items()
