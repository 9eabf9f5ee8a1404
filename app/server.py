"""Runs the service under uvicorn as the settings say: the limits of connections, the workers, the orderly end."""

import os
import tempfile
from contextlib import ExitStack

import uvicorn

from app.config import Settings
from app.http.protocol import BoundedHttpProtocol
from app.operations.exporter import MULTIPROCESS_DIRECTORY


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, and return 0 after an orderly end.

    Raises:
        SystemExit: 3 when the service can not start; the log says why.
    """
    with ExitStack() as stack:
        if settings.web_concurrency > 1 and MULTIPROCESS_DIRECTORY not in os.environ:
            os.environ[MULTIPROCESS_DIRECTORY] = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="sync-metrics-")
            )
        uvicorn.run(
            "app.main:app",
            host=settings.server_host,
            port=settings.server_port,
            workers=settings.web_concurrency,
            http=BoundedHttpProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=settings.keep_alive_timeout,
            timeout_graceful_shutdown=settings.shutdown_request_timeout,
        )
    return 0
