"""The commands that need the service itself: run it, back up its database, print its document, mint its tokens."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import click

from app.auth.local import LocalSecretError, mint_local_token
from app.auth.token import Scope, is_subject
from app.config import Settings, load_settings
from app.database.sqlite_file import BackupFailed, back_up
from app.log import configure_logging
from app.server import serve
from sync_client.commands.access import TOKEN_VARIABLE, Failure

MAX_MINUTES = 525_600
OPERATOR_SUBJECT = "operator"


class _Scopes(click.ParamType[list[Scope]]):
    name = "scope"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> list[Scope]:  # noqa: ARG002
        try:
            return [Scope(name) for name in value.split()]
        except ValueError:
            raise click.BadParameter(f"must be any of {' '.join(Scope)}", ctx, param_hint="'--scope'") from None


def operator_token() -> Callable[[], str]:
    """Mints a token of local mode that allows everything.

    Raises:
        Failure: the service is not in local mode.
    """
    settings = load_settings()
    configure_logging(level="WARNING", as_json=settings.log_json)
    if not settings.local_mode:
        raise Failure(f"A token is needed: set {TOKEN_VARIABLE} to one from {settings.auth0_domain}.")
    return partial(_mint, settings, OPERATOR_SUBJECT, list(Scope), None)


def _mint(settings: Settings, subject: str, scopes: list[Scope], lifetime: timedelta | None) -> str:
    try:
        return mint_local_token(settings, subject, scopes, lifetime, datetime.now(UTC))
    except LocalSecretError as error:
        raise Failure(str(error)) from None


def _check_subject(_context: click.Context, _option: click.Parameter, text: str) -> str:
    if not is_subject(text):
        raise click.BadParameter("must be 1 to 255 printable characters")
    return text


def _check_lifetime(_context: click.Context, _option: click.Parameter, text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0
    if not 1 / 60 <= minutes <= MAX_MINUTES:
        raise click.BadParameter(f"must be a number from a second (0.017) to {MAX_MINUTES} (a year)")
    return timedelta(minutes=minutes)


@click.command("serve")
@click.option("--host", help="Address to listen on (default: SERVER_HOST).")
@click.option("--port", help="Port to listen on (default: SERVER_PORT).")
def _serve(host: str | None, port: str | None) -> int:
    """Run the service."""
    # Through the environment they reach the workers too, which read the settings again.
    given = {"SERVER_HOST": host, "SERVER_PORT": port}
    os.environ.update({name: value for name, value in given.items() if value is not None})
    settings = load_settings()
    configure_logging(level=settings.log_level, as_json=settings.log_json)
    return serve(settings)


@click.command("backup")
@click.argument("path", type=click.Path(path_type=Path))
def _backup(path: Path) -> int:
    """Copy the SQLite database to PATH, which must not exist yet, while the service runs."""
    database = load_settings(environment="development").database  # a copy needs none of what production asks for
    if not database.is_sqlite:
        raise Failure("DATABASE_URL names PostgreSQL: back it up with pg_dump --format=custom")
    try:
        backup = back_up(Path(str(database.url.database)), path, _show_progress)
    except BackupFailed as error:
        raise Failure(str(error)) from None
    print(f"{path}: {backup.events} events, {backup.size} bytes")
    return 0


def _show_progress(copied: int, pages: int) -> None:
    if sys.stderr.isatty():
        width = 40
        done = copied * width // max(1, pages)
        end = "\n" if copied == pages else ""
        print(f"\r[{'#' * done}{'.' * (width - done)}] {copied} of {pages} pages", end=end, file=sys.stderr, flush=True)


@click.command("openapi")
def _openapi() -> None:
    """Print the OpenAPI document as JSON."""
    from app.main import app  # noqa: PLC0415 - importing builds the application; no other command needs it

    print(json.dumps(app.openapi(), indent=2))


@click.command("token")
@click.option(
    "--subject", default="developer", show_default=True, callback=_check_subject, help="Subject of the token."
)
@click.option(
    "--scope",
    "scopes",
    type=_Scopes(),
    multiple=True,
    help=f"Scopes, any of {' '.join(Scope)} (default: all). Repeat the option, or give several words.",
)
@click.option("--minutes", callback=_check_lifetime, help="Lifetime in minutes (default: ACCESS_TOKEN_EXPIRE_MINUTES).")
@click.argument("more", type=_Scopes(), nargs=-1, metavar="")
def _token(subject: str, scopes: Sequence[list[Scope]], minutes: timedelta | None, more: Sequence[list[Scope]]) -> int:
    """Mint a token for local mode (AUTH0_DOMAIN empty)."""
    if more and not scopes:
        raise click.UsageError("Words without an option: scopes stand after --scope.")
    settings = load_settings()
    # Standard output is for the token alone.
    configure_logging(level=settings.log_level, as_json=settings.log_json)
    if not settings.local_mode:
        domain = settings.auth0_domain
        raise Failure(f"AUTH0_DOMAIN is set, so tokens come from {domain}; leave it empty for local mode.")
    wanted = [scope for words in (*scopes, *more) for scope in words] if scopes else list(Scope)
    print(_mint(settings, subject, wanted, minutes))
    return 0


COMMANDS = {command.name: command for command in (_backup, _openapi, _serve, _token)}
