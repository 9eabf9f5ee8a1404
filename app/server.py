"""Runs the service under uvicorn as the settings say: the limits of connections, the workers, the orderly end."""

import asyncio
import os
import resource
import signal
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from socket import socket
from types import FrameType

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from app.config import Settings
from app.database.opening import prepare_database
from app.errors import StartupRefused
from app.http.connection import address, bind, removing, unix_path
from app.http.protocol import BoundedHttpProtocol
from app.operations.metrics import MULTIPROCESS_DIRECTORY
from app.startup import clear_refusals

ACCEPTED_AT_ONCE = 16
START_REFUSED = 1
MAX_PAUSE_SECONDS = 60

log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """Logs its address once it serves; uvicorn does not do so for sockets that it is given."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
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
        forwarded_allow_ips=list(settings.forwarded_allow_ips),
        timeout_keep_alive=settings.keep_alive_timeout,
        timeout_graceful_shutdown=settings.shutdown_request_timeout,
    )
    try:
        bound = bind(settings.server_host, settings.server_port, setting="SERVER_PORT")
        with removing(unix_path(settings.server_host)):
            return _serve(settings, config, bound)
    except StartupRefused as error:
        log.error(str(error))  # noqa: TRY400 - the line says all there is to know
        return START_REFUSED


def _serve(settings: Settings, config: uvicorn.Config, bound: list[socket]) -> int:
    # uvloop takes one connection from each socket in a turn of its loop. Under load a turn can take 50 ms, and a probe
    # would wait behind hundreds of connections that came together. All these sockets are one queue of the kernel's.
    listeners = [*bound, *(listener.dup() for listener in bound for _ in range(ACCEPTED_AT_ONCE - 1))]
    if settings.web_concurrency == 1:
        return _run(config, listeners)
    with clear_refusals():
        asyncio.run(prepare_database(settings))  # once for all workers
    return _supervise(config, listeners)


def _run(config: uvicorn.Config, listeners: list[socket]) -> int:
    server = _Server(config)
    try:
        server.run(listeners)
    except KeyboardInterrupt:
        return 0
    except SystemExit as end:
        if end.code != STARTUP_FAILURE:
            raise
        return 0 if server.should_exit else START_REFUSED  # a signal may have ended the start
    return 0


def _allow_many_connections() -> None:
    """Raise the limit of open files: every connection is one, and some systems allow 1024 unless asked for more."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _tell_address(config: uvicorn.Config) -> None:
    is_network = unix_path(config.host) is None
    log.info("listening", url=f"http://{address(config.host, config.port)}" if is_network else config.host)


@dataclass
class Worker:
    """A worker as the supervisor sees it; `restart_at` is None while it runs."""

    is_asked: bool = False
    has_answered: bool = False
    has_served: bool = False
    restart_at: float | None = None
    pause_seconds: float = 0

    def plan_restart(self, *, failed: bool, now: float) -> None:
        """The worker has ended at `now`, with an error that its successor may meet too if it `failed`."""
        self.pause_seconds = min(2 * self.pause_seconds or 1, MAX_PAUSE_SECONDS) if failed else 0
        self.restart_at = now + self.pause_seconds


class _Supervisor(Multiprocess):
    """Keeps the workers running: a successor that cannot start is tried again after growing pauses.

    uvicorn would end the healthy workers too. Only while no worker has served yet is a failed start the end of all.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self.has_failed = False
        self._has_served = False
        self._workers: dict[Process, Worker] = {}

    def keep_subprocess_alive(self) -> None:
        """Look after each worker; uvicorn calls this twice a second."""
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            worker = self._workers.setdefault(process, Worker())
            if worker.restart_at is not None:
                if time.monotonic() >= worker.restart_at:
                    successor = self.processes[index] = Process(self.config, self.sockets)
                    successor.start()
                    self._workers[successor] = Worker(pause_seconds=worker.pause_seconds)
                    del self._workers[process]
            elif not self._responds(process, worker):
                process.kill()  # it may hang
                process.join()
                self._bury(process, worker)

    def _responds(self, process: Process, worker: Worker) -> bool:
        """Whether the worker runs and does not hang; one that has never responded still imports, however long."""
        if not process.process.is_alive():
            return False
        try:
            if not worker.is_asked:
                process.parent_conn.send(b"ping")
                worker.is_asked = True
            if not worker.has_answered:
                if not process.parent_conn.poll():
                    return True
                process.parent_conn.recv()
                worker.has_answered = True
        except (OSError, EOFError):  # it has just ended
            return False
        if not worker.has_served and process.is_ready():
            worker.has_served = self._has_served = True
            worker.pause_seconds = 0
        return process.is_alive(self.config.timeout_worker_healthcheck)

    def _bury(self, process: Process, worker: Worker) -> None:
        """Plan the successor: immediately, unless the worker ended by itself with an error."""
        is_failure = bool(process.exitcode and process.exitcode > 0)
        if is_failure and not self._has_served:
            log.error("a worker cannot start, the service ends", worker=process.pid)
            self.has_failed = True
            self.should_exit.set()
            return
        worker.plan_restart(failed=is_failure, now=time.monotonic())
        end = {"status": process.exitcode, "restart_in_seconds": worker.pause_seconds}
        log.error("a worker has ended", worker=process.pid, **end)


def _supervise(config: uvicorn.Config, listeners: list[socket]) -> int:
    """Run the workers; a directory that they share adds up their metrics."""
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="sync-metrics-"))
            os.environ[MULTIPROCESS_DIRECTORY] = directory
        except OSError as error:
            log.warning("no directory for the metrics: each worker counts for itself", reason=error.strerror)
        supervisor = _Supervisor(config, sockets=listeners)
        _tell_address(config)
        supervisor.run()
    return START_REFUSED if supervisor.has_failed else 0


def _end_in_order(_number: int, _frame: FrameType | None) -> None:
    # uvicorn raises the signal that ended it again, after everything is done.
    raise SystemExit(0)
