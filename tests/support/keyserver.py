"""A real HTTPS server on this machine that hands out signing keys, or misbehaves as a test needs it."""

import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import trustme

from tests.support.tokens import SigningKey

PATH = "/.well-known/jwks.json"


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    timeout = 5  # seconds, for each read and write

    def do_GET(self) -> None:
        self.server.owner._answer(self)

    def do_POST(self) -> None:
        self.server.owner.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.owner._answer(self)

    def log_message(self, *_message: Any) -> None:
        """Keep the test output quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing the server waits for its connections
    request_queue_size = 256
    owner: "KeyServer"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up early is part of the tests."""


class KeyServer:
    """Use as a context manager. `domain` is what AUTH0_DOMAIN wants, `ca_file` what SSL_CERT_FILE wants.

    `requests` lists the paths asked for, in order. What is answered is set by the methods below, at any time.
    """

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.domain = f"localhost:{self._server.server_port}"
        self.requests: list[str] = []
        self.bodies: list[bytes] = []  # of the POSTed ones
        self._counted = threading.Condition()
        self._stopping = threading.Event()
        self._gate = threading.Event()
        self._gate.set()
        self._reply: Callable[[_Handler], None] = lambda handler: self._send(handler, 404, b"", {})
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="keyserver")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopping.set()
        self._gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def issuer(self) -> str:
        """The issuer of the tokens that belong to these keys."""
        return f"https://{self.domain}/"

    def serve(self, *keys: SigningKey | dict[str, Any]) -> None:
        """Answer with a key set of `keys`; a dict is taken as it is."""
        entries = [key.public_jwk() if isinstance(key, SigningKey) else key for key in keys]
        self.serve_bytes(json.dumps({"keys": entries}).encode())

    def serve_bytes(self, body: bytes, *, status: int = 200, **headers: str) -> None:
        """Answer with exactly this; underscores in header names become hyphens."""
        self._reply = lambda handler: self._send(handler, status, body, headers)

    def fail(self, status: int = 500) -> None:
        """Answer with an error."""
        self.serve_bytes(b"out of order", status=status)

    def redirect(self, location: str) -> None:
        """Answer with a redirect."""
        self.serve_bytes(b"", status=302, Location=location)

    def hang(self) -> None:
        """Take requests and never answer."""
        self._reply = lambda _handler: self._wait_for_stop()

    def drip(self, interval_seconds: float = 0.02) -> None:
        """Answer one byte at a time, for ever."""
        self._reply = lambda handler: self._drip(handler, interval_seconds)

    def flood(self) -> None:
        """Answer with a body that has no end, as fast as it goes."""
        self._reply = lambda handler: self._drip(handler, 0, b" " * 16_384)

    def hold(self) -> None:
        """Let requests wait for `release`, and answer them then."""
        self._gate.clear()

    def release(self) -> None:
        """Answer the requests that wait."""
        self._gate.set()

    def wait_for_requests(self, count: int, timeout_seconds: float = 10) -> None:
        """Block until `count` requests have come in all. From a coroutine, call it in a thread."""
        with self._counted:
            assert self._counted.wait_for(lambda: len(self.requests) >= count, timeout_seconds)

    def _answer(self, handler: _Handler) -> None:
        with self._counted:
            self.requests.append(handler.path)
            self._counted.notify_all()
        self._gate.wait()
        if not self._stopping.is_set():
            self._reply(handler)

    def _send(self, handler: _Handler, status: int, body: bytes, headers: dict[str, str]) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _wait_for_stop(self) -> None:
        self._stopping.wait()

    def _drip(self, handler: _Handler, interval_seconds: float, piece: bytes = b" ") -> None:
        handler.send_response(200)
        handler.end_headers()
        while not self._stopping.is_set():
            handler.wfile.write(piece)
            time.sleep(interval_seconds)
