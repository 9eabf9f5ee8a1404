"""Types of settings: what each checks is reported at start-up with the name of the variable."""

import re
from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import NoDecode

from app.database.url import parse_database_url

ASYMMETRIC_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"})
PLACEHOLDERS = frozenset({"your_secure_secret_key_here", "your-auth0-domain.auth0.com"})
MIN_SECRET_LENGTH = 32

_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_SERVICE_URL = re.compile(r"https?://[^\s/?#@\\]+(/[^\s?#\\]*)?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:(?P<port>[0-9]{1,5}))?")


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _host_with_optional_port(value: str) -> str:
    match = _HOST.fullmatch(value)
    if value and (not match or not 1 <= int(match["port"] or 443) <= 65_535):
        raise ValueError("must be a host name, optionally with a port, without https:// or a path")
    return value


def _only_asymmetric(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or not ASYMMETRIC_ALGORITHMS.issuperset(value):
        raise ValueError(f"only asymmetric algorithms are accepted: {', '.join(sorted(ASYMMETRIC_ALGORITHMS))}")
    return value


def _only_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    if value != ("*",) and not all(_ORIGIN.fullmatch(origin) for origin in value):
        raise ValueError("must be origins such as https://app.example.com, in lower case and without a path, or *")
    return value


def _only_ports(value: tuple[int, ...]) -> tuple[int, ...]:
    if not value or not all(0 <= port <= 65_535 for port in value):
        raise ValueError("must be ports from 1 to 65535, or 0 for any")
    return value


def _long_enough_keys(value: str) -> str:
    if value and any(len(key.strip()) < MIN_SECRET_LENGTH for key in value.split(",")):
        raise ValueError(f"each key must have at least {MIN_SECRET_LENGTH} characters")
    return value


def _long_enough_secret(value: str) -> str:
    if value and value not in PLACEHOLDERS and len(value) < MIN_SECRET_LENGTH:
        raise ValueError(f"must have at least {MIN_SECRET_LENGTH} characters")
    return value


def _service_url(value: str) -> str:
    if value and not _SERVICE_URL.fullmatch(value):
        raise ValueError("must be an address such as https://metadata.example.com, without user, query and fragment")
    return value.rstrip("/")


def _bearer_token(value: str) -> str:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be a token, without spaces")
    return value


def _only_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        for network in value:
            if network != "*":
                ip_network(network)
    except ValueError:
        raise ValueError("must be IP addresses or networks, e.g. 10.0.0.0/8, or *") from None
    return value


def _prefix(value: str) -> str:
    value = value.rstrip("/")
    if not PREFIX.fullmatch(value):
        raise ValueError("must be a path such as /api/sync, without a host")
    return value


def _known_database(value: str) -> str:
    parse_database_url(value)
    return value


def explain(error: ValidationError) -> list[str]:
    """One line for each wrong variable, with its name and without its value."""
    items = error.errors(include_input=False, include_url=False)
    named = [("_".join(map(str, item["loc"])).upper(), item["msg"].removeprefix("Value error, ")) for item in items]
    return [f"{name}: {message}" if name else message for name, message in named]


Delay = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]  # in seconds
Interval = Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)]  # in seconds
Rate = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
# At least a millisecond: databases count in those, and none of them would mean no limit at all.
Seconds = Annotated[float, Field(ge=0.001, le=86_400, allow_inf_nan=False)]
Networks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_only_networks)]
RootPath = Annotated[str, AfterValidator(_prefix)]
ServiceUrl = Annotated[str, AfterValidator(_service_url)]
BearerToken = Annotated[str, AfterValidator(_bearer_token)]
Host = Annotated[str, AfterValidator(_host_with_optional_port)]
Algorithms = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_only_asymmetric)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_only_origins)]
Ports = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_split), AfterValidator(_only_ports)]
Secret = Annotated[str, AfterValidator(_long_enough_secret)]
Secrets = Annotated[str, AfterValidator(_long_enough_keys)]
Database = Annotated[str, AfterValidator(_known_database)]
