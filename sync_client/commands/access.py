"""Shared by all commands: the service's address, a token, and failures."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import click
import httpx

from sync_client import BlockingSyncClient, SyncError, Unavailable
from sync_client.token import Token

TOKEN_VARIABLE, URL_VARIABLE = "SYNC_TOKEN", "SYNC_URL"
RETRIES = 3
FAILED, UNAVAILABLE, INTERRUPTED = 1, 3, 130

ReadToken = Callable[[], Token]


class Failure(click.ClickException):
    """Ends the command with one line on standard error and an exit status."""

    exit_code = FAILED

    def show(self, file: Any = None) -> None:
        """Print the line."""
        print(self.message, file=file or sys.stderr)


class ServiceUnavailable(Failure):
    """The service did not respond; a later attempt may succeed."""

    exit_code = UNAVAILABLE


def read_token() -> str:
    """The token of the environment.

    Raises:
        Failure: there is none.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise Failure(f"A token is needed: set {TOKEN_VARIABLE}.")
    return token


def run(group: click.Group, arguments: Sequence[str] | None, name: str) -> int:
    """Run a command and return its exit status.

    Raises:
        SystemExit: 2 when the arguments are invalid.
    """
    try:
        status = group.main(args=arguments, prog_name=name, standalone_mode=False)
    except click.UsageError as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    return status if isinstance(status, int) else 0


class UrlType(click.ParamType[str]):
    """The address of a service."""

    name = "url"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See `click.ParamType`."""
        try:
            url = httpx.URL(value)
        except httpx.InvalidURL as error:
            self.fail(str(error), param, ctx)
        if url.scheme not in {"http", "https"} or not url.host:
            self.fail("must begin with http:// or https:// and name a host", param, ctx)
        return value


class UuidType(click.ParamType[str]):
    """A UUID."""

    name = "uuid"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See `click.ParamType`."""
        try:
            return str(UUID(value))
        except ValueError:
            self.fail("must be a UUID", param, ctx)


URL, ID = UrlType(), UuidType()

url_option = click.option(
    "--url",
    type=URL,
    envvar=URL_VARIABLE,
    default="http://127.0.0.1:8000",
    show_default=True,
    show_envvar=True,
    help="The service.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for scripts.")


@contextmanager
def connect(context: click.Context, url: str) -> Iterator[BlockingSyncClient]:
    """A client for one command; its errors become `Failure`."""
    token: ReadToken = context.obj
    try:
        with BlockingSyncClient(url, token(), max_retries=RETRIES) as sync:
            yield sync
    except SyncError as error:
        raise failure_of(error) from None


def failure_of(error: SyncError, note: str = "") -> Failure:
    """The failure of a command for `error`, in characters that are safe in a terminal."""
    kind = ServiceUnavailable if isinstance(error, Unavailable) else Failure
    return kind(re.sub(r"[^\x20-\x7e]", "?", f"{error}{note}"))
