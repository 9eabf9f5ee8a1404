"""The command line: `python -m app …`."""

import argparse
import sys
from datetime import UTC, datetime, timedelta

from app.auth.local import mint_local_token
from app.auth.principal import Scope
from app.config import load_settings


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m app", description="Sync Service")
    commands = parser.add_subparsers(dest="command", required=True)
    token = commands.add_parser("token", help="mint a token for local mode (AUTH0_DOMAIN empty)")
    token.add_argument("--subject", default="developer", type=_subject, help="who the token names (default: developer)")
    token.add_argument(
        "--scope",
        nargs="+",
        choices=[scope.value for scope in Scope],
        default=[scope.value for scope in Scope],
        help="what it allows (default: everything)",
    )
    token.add_argument("--minutes", type=_minutes, help="how long it lives (default: ACCESS_TOKEN_EXPIRE_MINUTES)")
    return _token(parser.parse_args(arguments))


def _subject(text: str) -> str:
    if not 1 <= len(text) <= 255 or not text.isprintable():
        raise argparse.ArgumentTypeError("must be 1 to 255 printable characters")
    return text


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes <= 525_600:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 525600 (a year)")
    return minutes


def _token(options: argparse.Namespace) -> int:
    settings = load_settings()
    if not settings.local_mode:
        print(
            f"AUTH0_DOMAIN is set, so tokens come from {settings.auth0_domain}; leave it empty for local mode.",
            file=sys.stderr,
        )
        return 1
    minutes = options.minutes or settings.access_token_expire_minutes
    print(
        mint_local_token(
            settings,
            subject=options.subject,
            scopes=options.scope,
            lifetime=timedelta(minutes=minutes),
            now=datetime.now(UTC),
        )
    )
    return 0
