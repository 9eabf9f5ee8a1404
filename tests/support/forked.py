"""The program behind `ForkServer`: for each request, a line of JSON, it forks a process and prints its id."""

import gc
import importlib
import json
import os
import pkgutil
import runpy
import sys

import app

# What the service imports only once it runs.
LATER = (
    "alembic.ddl.postgresql",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "uvicorn.lifespan.on",
    "uvicorn.logging",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
)
MAKES_AN_APPLICATION = {"app.main", "app.__main__"}


def main() -> None:
    """Serve requests until there are no more; in a new process, run what was asked for and return."""
    _import_the_service()
    gc.freeze()  # so that no collection copies the pages that the processes share
    while line := sys.stdin.buffer.readline():
        if _is_new_process():
            _run(**json.loads(line))
            return


def _import_the_service() -> None:
    modules = [found.name for found in pkgutil.walk_packages(app.__path__, "app.")]
    for name in [*modules, *LATER]:
        if name not in MAKES_AN_APPLICATION:
            importlib.import_module(name)
    gc.collect()


def _is_new_process() -> bool:
    """Fork a process whose parent has ended when its id is printed, so that it is our own parent's child."""
    reading, writing = os.pipe()
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        os.write(sys.stdout.fileno(), os.read(reading, 32))
    elif pid := os.fork():
        os.write(writing, b"%d\n" % pid)
        os._exit(0)
    os.close(reading)
    os.close(writing)
    return not between


def _run(command: list[str], environment: dict[str, str], outputs: list[str], folder: str) -> None:
    for target, path in enumerate((os.devnull, *outputs)):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND if target else os.O_RDONLY
        opened = os.open(path, flags, 0o666)
        os.dup2(opened, target)
        os.close(opened)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    module, *sys.argv[1:] = command
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
