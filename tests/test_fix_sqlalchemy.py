"""`fix_sqlalchemy.py` in real virtual environments, with packages made by the test so that no network is needed."""

import base64
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "fix_sqlalchemy.py"
# The modules that the service imports of each package.
MODULES = {
    "sqlalchemy": ("sqlalchemy/__init__.py", "sqlalchemy/ext/__init__.py", "sqlalchemy/ext/asyncio.py"),
    "greenlet": ("greenlet.py",),
    "aiosqlite": ("aiosqlite.py",),
    "asyncpg": ("asyncpg.py",),
    "alembic": ("alembic/__init__.py", "alembic/command.py"),
}
PINNED = "2.0"


def write_wheel(folder: Path, name: str, version: str, code: str = "") -> Path:
    """A wheel (PyPA binary distribution format) whose modules all hold `code`."""
    info = f"{name}-{version}.dist-info"
    files = dict.fromkeys(MODULES[name], code) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    records = [f"{path},sha256={_record_digest(content)},{len(content)}\n" for path, content in files.items()]
    files[f"{info}/RECORD"] = "".join(records) + f"{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, content in files.items():
            archive.writestr(inner, content)
    return path


def _record_digest(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


class Environment:
    """A virtual environment, a copy of the script with its lock file, and a folder of wheels to install from."""

    def __init__(self, root: Path, pip: Path) -> None:
        venv.create(root / "venv", with_pip=False, symlinks=True)
        self.python = root / "venv" / "bin" / "python"
        library = f"lib/python{sysconfig.get_python_version()}/site-packages"
        self.packages = root / "venv" / library
        (self.packages / "pip").symlink_to(pip)
        self.wheels = root / "wheels"
        self.wheels.mkdir()
        self.script = root / "fix_sqlalchemy.py"
        shutil.copy(SCRIPT, self.script)
        self.lock = root / "requirements" / "runtime.txt"
        self.lock.parent.mkdir()
        self.lock.write_text("# pinned\n" + "".join(self._pin(name) for name in MODULES))
        for name in MODULES:
            self.install(name)

    def _pin(self, name: str) -> str:
        digest = hashlib.sha256(write_wheel(self.wheels, name, PINNED).read_bytes()).hexdigest()
        zeros = "0" * 64
        return (
            f"{name}=={PINNED} \\\n    --hash=sha256:{zeros} \\\n    --hash=sha256:{digest}\n    # via -r runtime.in\n"
        )

    def install(self, name: str, version: str = PINNED, code: str = "") -> None:
        """Put a package there as pip would, instead of what is there of it."""
        self.remove(name)
        with zipfile.ZipFile(write_wheel(self.wheels.parent, name, version, code)) as archive:
            archive.extractall(self.packages)

    def remove(self, name: str) -> None:
        """Take a package away."""
        for path in [*self.packages.glob(f"{name}-*"), *self.packages.glob(f"{name}*")]:
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the script with this environment's Python, from the folder of the script."""
        variables = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
        variables |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PIP_CONFIG_FILE": os.devnull}
        return subprocess.run(
            [str(self.python), str(self.script), *arguments],
            env=variables,
            cwd=self.script.parent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def installed(self) -> dict[str, str]:
        """What the installed files hold, by their paths; pip's own and what Python compiled are left out."""
        files = [path for name in MODULES for path in self.packages.glob(f"{name}*/**/*") if path.suffix == ".py"]
        single = [path for name in MODULES for path in self.packages.glob(f"{name}*") if path.is_file()]
        infos = self.packages.glob("*.dist-info/METADATA")
        return {str(path): path.read_text() for path in (*files, *single, *infos)}

    def verdicts(self, output: str) -> dict[str, str]:
        """The last table of `output`: verdict by package."""
        table, _, _ = output[output.rindex("package  ") :].partition("\n\n")
        return {line.split()[0]: line.split(maxsplit=3)[3] for line in table.splitlines()[1:]}


@pytest.fixture(scope="module")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of a pip: that of this environment, or where it has none, of a fresh one."""
    if (here := importlib.util.find_spec("pip")) and here.origin:
        return Path(here.origin).parent
    root = tmp_path_factory.mktemp("pip")
    venv.create(root, with_pip=True, symlinks=True)
    return next(root.glob("lib/python*/site-packages/pip"))


@pytest.fixture
def environment(tmp_path: Path, pip: Path) -> Environment:
    """Everything is installed as pinned."""
    return Environment(tmp_path, pip)


def test_all_is_well_and_the_table_is_aligned(environment: Environment) -> None:
    result = environment.run("--check")
    assert (result.returncode, result.stderr) == (0, "")
    assert set(environment.verdicts(result.stdout).values()) == {"ok"}
    assert {"python", "sqlite", *MODULES} == environment.verdicts(result.stdout).keys()
    lines = result.stdout.splitlines()
    column = lines[0].index("verdict")
    assert {line[column:] for line in lines[1:]} == {"ok"}
    assert {line[column - 2 : column] for line in lines} == {"  "}


def test_check_reports_and_changes_nothing(environment: Environment) -> None:
    environment.install("aiosqlite", "1.0")
    environment.remove("alembic")
    (environment.script.parent / "alembic").mkdir()
    environment.install("greenlet", PINNED, "raise ImportError('built for another Python')")
    environment.install("asyncpg", PINNED, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    before = environment.installed()
    result = environment.run("--check")
    assert result.returncode == 1
    assert environment.verdicts(result.stdout) == {
        "python": "ok",
        "sqlite": "ok",
        "aiosqlite": "another version",
        "alembic": "missing",
        "asyncpg": "cannot be imported: crash by signal 11",
        "greenlet": "cannot be imported: ImportError: built for another Python",
        "sqlalchemy": "ok",
    }
    assert environment.installed() == before


def test_repair_installs_what_is_pinned(environment: Environment) -> None:
    environment.install("aiosqlite", "1.0")
    environment.remove("alembic")
    environment.install("greenlet", PINNED, "raise ImportError('built for another Python')")
    result = environment.run()
    assert result.returncode == 0, result.stdout + result.stderr
    assert set(environment.verdicts(result.stdout).values()) == {"ok"}
    assert result.stdout.rstrip().endswith("Repaired.")


def test_repair_reinstalls_nothing_that_only_lacked_another_package(environment: Environment) -> None:
    environment.install("alembic", PINNED, "import sqlalchemy")
    environment.remove("sqlalchemy")
    result = environment.run()
    assert result.returncode == 0
    assert "--force-reinstall" not in result.stdout
    assert (environment.packages / "alembic" / "command.py").read_text() == "import sqlalchemy"


def test_a_package_with_another_hash_is_not_installed(environment: Environment) -> None:
    environment.install("aiosqlite", "1.0")
    write_wheel(environment.wheels, "aiosqlite", PINNED, "print('not the pinned one')")
    result = environment.run()
    assert result.returncode == 1
    assert "DO NOT MATCH THE HASHES" in result.stderr
    assert environment.verdicts(result.stdout)["aiosqlite"] == "another version"


def test_a_failed_repair_says_so(environment: Environment) -> None:
    environment.install("aiosqlite", "1.0")
    (environment.packages / "pip").unlink()
    result = environment.run()
    assert result.returncode == 1
    assert "No module named pip" in result.stderr
    assert "still off" in result.stdout


def test_a_pin_for_other_machines_is_passed_over(environment: Environment) -> None:
    lock = environment.lock.read_text()
    other = f'greenlet==1.0 ; sys_platform == "nowhere" \\\n    --hash=sha256:{"0" * 64}\n'
    ours = lock.replace(f"greenlet=={PINNED} \\", f"greenlet=={PINNED} ; python_version >= '3' \\")
    ours = ours.replace(f"asyncpg=={PINNED} \\", f"asyncpg=={PINNED} ; os_name == 'none' \\")
    environment.lock.write_text(other + ours)
    result = environment.run("--check")
    assert result.returncode == 0
    assert "asyncpg" not in result.stdout


@pytest.mark.parametrize("damage", ["missing", "binary", "no hash", "lacking"])
def test_without_a_usable_lock_file_it_says_so(environment: Environment, damage: str) -> None:
    lock = environment.lock.read_text()
    if damage == "missing":
        environment.lock.unlink()
    else:
        text = {"binary": "\udcff", "no hash": "sqlalchemy==2.0\n", "lacking": lock.replace("alembic", "alembik")}
        environment.lock.write_text(text[damage], errors="surrogateescape")
    result = environment.run("--check")
    assert (result.returncode, result.stdout) == (2, "")
    assert "runtime.txt" in result.stderr


def test_wrong_usage(environment: Environment) -> None:
    assert environment.run("--frobnicate").returncode == 2


def test_this_environment_is_as_pinned() -> None:
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout


def test_what_no_package_can_repair_is_left_alone(environment: Environment) -> None:
    environment.script.write_text(SCRIPT.read_text().replace('MINIMUM_SQLITE = "3.35"', 'MINIMUM_SQLITE = "99.1"'))
    environment.install("aiosqlite", "1.0")
    result = environment.run()
    assert result.returncode == 1
    assert environment.verdicts(result.stdout)["sqlite"] == "too old"
    assert "SQLite 99.1, or newer" in result.stdout
    assert environment.verdicts(result.stdout)["aiosqlite"] == "another version", "nothing was installed"
