"""The command line: `python -m app …`."""

import argparse
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args
from uuid import UUID

import httpx

from app.auth.claims import is_subject
from app.auth.local import LocalSecretError, mint_local_token
from app.auth.principal import Scope
from app.config import load_settings
from app.log import configure_logging
from app.outbound.signature import PREFIX, is_secret
from app.receive.command import SECRET_VARIABLE, ReceiveOptions, receive
from app.server import serve
from app.tail.command import TailOptions, tail
from sync_client import EventType

MAX_MINUTES = 525_600
LATEST = "latest"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    Raises:
        SystemExit: 2 when the arguments make no sense; with a message when the settings do not.
    """
    parser = argparse.ArgumentParser(prog="python -m app", description="Sync Service")
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve", help="run the service")
    server.add_argument("--host", help="address to listen on (default: SERVER_HOST)")
    server.add_argument("--port", help="port to listen on (default: SERVER_PORT)")
    server.set_defaults(run=_serve)
    document = commands.add_parser("openapi", help="print the OpenAPI document as JSON")
    document.set_defaults(run=_openapi)
    token = commands.add_parser("token", help="mint a token for local mode (AUTH0_DOMAIN empty)")
    token.add_argument("--subject", default="developer", type=_subject, help="who the token names (default: developer)")
    token.add_argument(
        "--scope",
        nargs="+",
        type=_scopes,
        default=[list(Scope)],
        metavar="SCOPE",
        help=f"what it allows, any of {' '.join(Scope)} (default: everything)",
    )
    token.add_argument("--minutes", type=_lifetime, help="how long it lives (default: ACCESS_TOKEN_EXPIRE_MINUTES)")
    token.set_defaults(run=_token)
    _add_tail(commands.add_parser("tail", help="follow the feed of changes in the terminal"))
    _add_receive(commands.add_parser("receive", help="take webhooks in the terminal, to try them out"))
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _add_tail(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Print every change, one a line, until Ctrl-C. SYNC_TOKEN is the token; local mode needs none."
    )
    command.add_argument("--url", type=_url, default="http://127.0.0.1:8000", help="the service (default: %(default)s)")
    command.add_argument(
        "--from",
        dest="start",
        type=_start,
        default=LATEST,
        metavar="CURSOR",
        help="where to begin: beginning, latest, or a cursor (default: latest)",
    )
    command.add_argument(
        "--cursor-file", type=Path, metavar="FILE", help="go on where FILE says, and keep there how far this has come"
    )
    command.add_argument(
        "--event-type", action="append", choices=get_args(EventType), default=[], help="only these; may be repeated"
    )
    command.add_argument("--file-id", type=_file_id, help="only changes of this file")
    command.add_argument("--json", action="store_true", dest="as_json", help="one JSON object a line")
    command.set_defaults(run=_tail)


def _add_receive(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Take webhooks and print one line for each event, until Ctrl-C. A message is answered with 204 once its line "
        "is written, with 401 when its signature or its timestamp is not right, and with 400 when it is no event. "
        "(again) marks an event that came before."
    )
    command.epilog = (
        f"The secret is in the answer to POST /subscriptions; {SECRET_VARIABLE} keeps it out of the list of "
        "processes. A service sends to this machine only with WEBHOOK_ALLOW_PRIVATE_ADDRESSES=true, and only to the "
        "ports of WEBHOOK_PORTS. "
        "docs/webhooks.md has the whole walk."
    )
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    command.add_argument("--port", type=_port, default=8080, help="port to listen on; 0: a free one (default: 8080)")
    command.add_argument(
        "--secret",
        type=_secret,
        default=os.environ.get(SECRET_VARIABLE) or None,
        metavar="whsec_…",
        help=f"verify signatures with it (default: {SECRET_VARIABLE}; with neither, they are not verified)",
    )
    command.add_argument(
        "--fail-rate",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="answer this share of messages with 500, from 0 to 1, to see retries (default: 0)",
    )
    command.add_argument("--json", action="store_true", dest="as_json", help="one CloudEvent a line")
    command.set_defaults(run=_receive)


def _url(text: str) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise argparse.ArgumentTypeError("must begin with http:// or https:// and name a host")
    return text


def _start(text: str) -> str | None:
    return None if text == "beginning" else text


def _file_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise argparse.ArgumentTypeError("must be a UUID") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


def _secret(text: str) -> str:
    if not is_secret(text):
        raise argparse.ArgumentTypeError(f"must be a secret as the service shows it: {PREFIX} and then base64")
    return text


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("must be a number from 0 to 1")
    return share


def _subject(text: str) -> str:
    if not is_subject(text):
        raise argparse.ArgumentTypeError("must be 1 to 255 printable characters")
    return text


def _scopes(text: str) -> list[Scope]:
    try:
        return [Scope(name) for name in text.split()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be any of {' '.join(Scope)}") from None


def _lifetime(text: str) -> timedelta:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0
    if not 1 / 60 <= minutes <= MAX_MINUTES:
        raise argparse.ArgumentTypeError(f"must be a number from a second (0.017) to {MAX_MINUTES} (a year)")
    return timedelta(minutes=minutes)


def _serve(options: argparse.Namespace) -> int:
    # Through the environment they reach the workers too, which read the settings again.
    given = {"SERVER_HOST": options.host, "SERVER_PORT": options.port}
    os.environ.update({name: value for name, value in given.items() if value is not None})
    settings = load_settings()
    configure_logging(level=settings.log_level, as_json=settings.log_json)
    return serve(settings)


def _openapi(_options: argparse.Namespace) -> int:
    from app.main import app  # noqa: PLC0415 - importing builds the application; no other command wants that

    print(json.dumps(app.openapi(), indent=2))
    return 0


def _tail(options: argparse.Namespace) -> int:
    return tail(
        TailOptions(
            url=options.url,
            start=options.start,
            cursor_file=options.cursor_file,
            event_types=tuple(options.event_type),
            file_id=options.file_id,
            as_json=options.as_json,
        )
    )


def _receive(options: argparse.Namespace) -> int:
    return receive(
        ReceiveOptions(
            host=options.host,
            port=options.port,
            secret=options.secret,
            fail_rate=options.fail_rate,
            as_json=options.as_json,
        )
    )


def _token(options: argparse.Namespace) -> int:
    settings = load_settings()
    # Standard output is for the token alone.
    configure_logging(level=settings.log_level, as_json=settings.log_json)
    if not settings.local_mode:
        domain = settings.auth0_domain
        print(f"AUTH0_DOMAIN is set, so tokens come from {domain}; leave it empty for local mode.", file=sys.stderr)
        return 1
    scopes = [scope for scopes in options.scope for scope in scopes]
    try:
        token = mint_local_token(settings, options.subject, scopes, options.minutes, datetime.now(UTC))
    except LocalSecretError as error:
        print(error, file=sys.stderr)
        return 1
    print(token)
    return 0
