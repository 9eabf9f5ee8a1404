"""`python -m benchmarks.services NAME PORT` serves one of the baselines, the way `python -m app serve` serves."""

import sys

import uvicorn

from app.config import load_settings
from app.http.protocol import BoundedHttpProtocol
from app.log import configure_logging


def main(name: str, port: int) -> None:
    """Serve until SIGTERM."""
    settings = load_settings()
    configure_logging(level=settings.log_level, as_json=settings.log_json)
    uvicorn.run(
        f"benchmarks.services.{name}:app",
        port=port,
        http=BoundedHttpProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_timeout,
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
