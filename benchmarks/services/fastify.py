"""`python -m benchmarks.services.fastify PORT` becomes the service on Fastify in `benchmarks/fastify`."""

import os
import shutil
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "fastify"


def why_missing() -> str | None:
    """The missing program and the command that installs it; None when it can run."""
    if shutil.which("node") is None:
        return "node is missing; install Debian's packages: apt-get install nodejs npm"
    if not (FOLDER / "node_modules").is_dir():
        return "the packages of Fastify are missing; install them: make benchmarks/fastify/node_modules"
    return None


if __name__ == "__main__":
    os.environ["PEER_PORT"] = sys.argv[1]
    os.execvp("node", ["node", str(FOLDER / "server.mjs")])  # noqa: S606, S607 - as in any shell
