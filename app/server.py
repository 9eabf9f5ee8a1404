"""Runs the service under uvicorn as the settings say: the limits of connections, the workers, the orderly end."""

import os
import resource
import signal
import tempfile
from socket import socket
from types import FrameType

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.config import Settings
from app.http.connection import PortTaken, address, bind
from app.http.protocol import BoundedHttpProtocol
from app.operations.metrics import MULTIPROCESS_DIRECTORY

ACCEPTED_AT_ONCE = 16
START_REFUSED = 1

log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """Logs its address once it serves; uvicorn does not do so for sockets that it is given."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        if self.started:
            _tell_address(self.config)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; 0 after an orderly end, 1 when the port is taken or the service cannot start.

    Raises:
        SystemExit: 0, from a single process.
    """
    signal.signal(signal.SIGTERM, _end_in_order)
    _allow_many_connections()
    config = uvicorn.Config(
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
    try:
        listener = bind(settings.server_host, settings.server_port, setting="SERVER_PORT")
    except PortTaken as error:
        log.error(str(error))  # noqa: TRY400 - the line says all there is to know
        return START_REFUSED
    # uvloop takes one connection from each socket in a turn of its loop. Under load a turn can take 50 ms, and a probe
    # would wait behind hundreds of connections that came together. All these sockets are one queue of the kernel's.
    listeners = [listener, *(listener.dup() for _ in range(ACCEPTED_AT_ONCE - 1))]
    if settings.web_concurrency > 1:
        return _supervise(config, listeners)
    try:
        _Server(config).run(listeners)
    except KeyboardInterrupt:
        return 0
    except SystemExit as end:
        if end.code != STARTUP_FAILURE:
            raise
        return START_REFUSED
    return 0


def _allow_many_connections() -> None:
    """Raise the limit of open files: every connection is one, and some systems allow 1024 unless asked for more."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _tell_address(config: uvicorn.Config) -> None:
    log.info("listening", url=f"http://{address(config.host, config.port)}")


def _supervise(config: uvicorn.Config, listeners: list[socket]) -> int:
    """Run the workers; a directory that they share adds up their metrics."""
    with tempfile.TemporaryDirectory(prefix="sync-metrics-") as directory:
        os.environ[MULTIPROCESS_DIRECTORY] = directory
        supervisor = Multiprocess(config, sockets=listeners)
        _tell_address(config)
        supervisor.run()
    failed = any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes)
    return START_REFUSED if failed else 0


def _end_in_order(_number: int, _frame: FrameType | None) -> None:
    # uvicorn raises the signal that ended it again, after everything is done.
    raise SystemExit(0)
