"""The command line: `python -m app …`."""

import argparse
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from app.auth.local import LocalSecretError, mint_local_token
from app.auth.token import Scope, is_subject
from app.config import Settings, load_settings
from app.database.backup import BackupFailed, back_up
from app.log import configure_logging
from app.server import serve
from sync_client.commands import receive, tail

MAX_MINUTES = 525_600
TOKEN_VARIABLE = "SYNC_TOKEN"  # noqa: S105 - the name of the variable
TAIL_SUBJECT = "tail"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    Raises:
        SystemExit: 2 for invalid arguments; with a message for invalid settings.
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
    following = commands.add_parser("tail", help="follow the feed of changes in the terminal")
    tail.add_arguments(following)
    following.set_defaults(run=_tail)
    receiving = commands.add_parser("receive", help="receive webhooks in the terminal, to try them out")
    receive.add_arguments(receiving)
    receiving.set_defaults(run=lambda options: receive.receive(receive.ReceiveOptions.of(options)))
    backup = commands.add_parser("backup", help="copy the SQLite database while the service runs")
    backup.add_argument("path", type=Path, metavar="PATH", help="the copy; it must not exist yet")
    backup.set_defaults(run=_backup)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


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


def _backup(options: argparse.Namespace) -> int:
    database = load_settings(environment="development").database  # a copy needs none of what production asks for
    if not database.is_sqlite:
        print("DATABASE_URL names PostgreSQL: back it up with pg_dump --format=custom", file=sys.stderr)
        return 1
    try:
        backup = back_up(Path(str(database.url.database)), options.path, _show_progress)
    except BackupFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.path}: {backup.events} events, {backup.size} bytes")
    return 0


def _show_progress(copied: int, pages: int) -> None:
    if sys.stderr.isatty():
        width = 40
        done = copied * width // max(1, pages)
        end = "\n" if copied == pages else ""
        print(f"\r[{'#' * done}{'.' * (width - done)}] {copied} of {pages} pages", end=end, file=sys.stderr, flush=True)


def _openapi(_options: argparse.Namespace) -> int:
    from app.main import app  # noqa: PLC0415 - importing builds the application; no other command wants that

    print(json.dumps(app.openapi(), indent=2))
    return 0


def _tail(options: argparse.Namespace) -> int:
    token: tail.Token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        settings = load_settings()
        configure_logging(level="WARNING", as_json=settings.log_json)
        if not settings.local_mode:
            print(f"A token is needed: set {TOKEN_VARIABLE} to one from {settings.auth0_domain}.", file=sys.stderr)
            return 1
        token = partial(_mint_tail_token, settings)
    try:
        return tail.tail(tail.TailOptions.of(options), token)
    except LocalSecretError as error:
        print(error, file=sys.stderr)
        return 1


def _mint_tail_token(settings: Settings) -> str:
    """A token of local mode; the client calls this again when it has expired."""
    return mint_local_token(settings, TAIL_SUBJECT, [Scope.READ], None, datetime.now(UTC))


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
