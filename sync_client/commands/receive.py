"""The command `receive`: a receiver of webhooks in the terminal, to try them out, until Ctrl-C."""

import json
import os
import random
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from types import FrameType
from typing import Any

import click
import uvicorn

from sync_client.commands.line import in_terminal_colours, render_refusal, render_text
from sync_client.commands.message import Content, OtherMessage, Ping
from sync_client.commands.receiver import Receiver
from sync_client.webhooks import SECRET_PREFIX, is_secret

TYPE_CHARACTERS = 100  # shown of an unknown type
SECRET_VARIABLE = "SYNC_WEBHOOK_SECRET"  # noqa: S105 - the name of the variable


@dataclass(frozen=True, slots=True)
class ReceiveOptions:
    """The address to listen on, the secret, and the output format. `fail_rate` is a share from 0 to 1."""

    host: str
    port: int
    secret: str | None
    fail_rate: float
    as_json: bool


def _check_secret(_context: click.Context, _option: click.Parameter, secret: str | None) -> str | None:
    if secret and not is_secret(secret):
        raise click.BadParameter(f"must be a secret as the service shows it: {SECRET_PREFIX} and then base64")
    return secret or None


def _check_rate(_context: click.Context, _option: click.Parameter, rate: float) -> float:
    if not 0 <= rate <= 1:  # NaN is not between them either
        raise click.BadParameter("must be a number from 0 to 1")
    return rate


@click.command(
    "receive",
    epilog=f"The secret is in the response to POST /subscriptions; {SECRET_VARIABLE} keeps it out of the list of "
    "processes. A service sends to this machine only with WEBHOOK_ALLOW_PRIVATE_ADDRESSES=true, and only to the ports "
    "of WEBHOOK_PORTS. docs/webhooks.md has every step.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="Port; 0: a free one.")
@click.option(
    "--secret",
    envvar=SECRET_VARIABLE,
    show_envvar=True,
    callback=_check_secret,
    metavar="whsec_…",
    help="Secret to verify signatures with; without it they are not verified.",
)
@click.option(
    "--fail-rate",
    type=float,
    callback=_check_rate,
    default=0.0,
    metavar="SHARE",
    help="Respond to this share of messages with 500, from 0 to 1, to see retries.",
)
@click.option("--json", "as_json", is_flag=True, help="One CloudEvent a line.")
def command(**given: Any) -> int:
    """Receive webhooks and print one line for each event, until Ctrl-C.

    The response is 204 once the line is written, 401 when the signature or the timestamp is not valid, and 400 when
    the message is no event. (again) marks an event that was received before.
    """
    return receive(ReceiveOptions(**given))


def receive(options: ReceiveOptions) -> int:
    """Receive webhooks until Ctrl-C, or until its output is closed (0); 1 when the port is taken."""
    try:
        listener = socket.create_server(
            (options.host, options.port), family=socket.AF_INET6 if ":" in options.host else socket.AF_INET
        )
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        print(f"cannot listen on port {options.port} of {options.host}: {reason}", file=sys.stderr)
        return 1
    with listener:
        _greet(listener.getsockname()[1], options)
        _serve(listener, options)
    return 0


def _greet(port: int, options: ReceiveOptions) -> None:
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(f"listening at http://{host}:{port}/; Ctrl-C ends it", file=sys.stderr)
    if options.secret is None:
        print(f"signatures are not verified: there is neither --secret nor {SECRET_VARIABLE}", file=sys.stderr)


def _serve(listener: socket.socket, options: ReceiveOptions) -> None:
    # uvicorn raises the signal that ended it again, after all is done.
    signal.signal(signal.SIGTERM, _end_in_order)
    printer = TerminalPrinter(as_json=options.as_json, on_closed=lambda: setattr(server, "should_exit", True))
    receiver = Receiver(printer, secret=options.secret, fail_rate=options.fail_rate, random=random.random)
    config = uvicorn.Config(
        receiver,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _end_in_order(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


class TerminalPrinter:
    """Prints messages on standard output and refusals on standard error, a line each.

    `on_closed` is called when its output is closed.
    """

    def __init__(self, *, as_json: bool, on_closed: Callable[[], None]) -> None:
        self._as_json = as_json
        self._on_closed = on_closed
        self._colours = in_terminal_colours(sys.stdout)
        self._error_colours = in_terminal_colours(sys.stderr)

    def tell(self, message: Content, body: bytes, *, again: bool) -> None:
        """See `Printer`."""
        self._print(self._render(message, body) + ("  (again)" if again and not self._as_json else ""))

    def tell_refusal(self, at: datetime, status: HTTPStatus, why: str) -> None:
        """See `Printer`."""
        print(render_refusal(at, status, why, colours=self._error_colours), file=sys.stderr, flush=True)

    def _render(self, message: Content, body: bytes) -> str:
        if self._as_json:
            return json.dumps(json.loads(body), separators=(",", ":"))
        if isinstance(message, Ping):
            return f"ping of subscription {message.subscription_id}"
        if isinstance(message, OtherMessage):
            return f"message of the type {message.type[:TYPE_CHARACTERS]!r}, which is not known here"
        return render_text(message, colours=self._colours)

    def _print(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError:
            # The interpreter would try to write the rest of the buffer when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._on_closed()
