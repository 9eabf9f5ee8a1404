"""Reads `DATABASE_URL` in every form that people write it and turns it into what the async drivers take.

PostgreSQL's own names: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_SQLITE = frozenset({"sqlite", "sqlite+aiosqlite", "sqlite+pysqlite"})
_POSTGRESQL = frozenset({"postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"})
_SQLITE_OPTIONS = frozenset({"check_same_thread"})  # often seen with FastAPI; the async driver needs no such thing
_PORT = "5432"

_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_SERVERS = frozenset({"any", "primary", "standby", "read-write", "read-only", "prefer-standby"})
# Options that asyncpg takes as arguments, options that it takes only in a URL, and options of the socket.
_ARGUMENTS = frozenset({"passfile", "servicefile", "krbsrvname", "gsslib", "target_session_attrs"})
_IN_URL = frozenset(
    {
        *("sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation", "service"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    }
)
_CLIENT_FILES = frozenset({"sslcert", "sslkey"})
_FILES = _CLIENT_FILES | {"sslrootcert", "sslcrl"}
_SOCKET = {
    "keepalives": "SO_KEEPALIVE",
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}
_OF_THE_URL = frozenset({"host", "port", "dbname", "user", "password", "sslmode", "ssl"})
_OF_THE_SESSION = frozenset({"application_name", "fallback_application_name", "options", "connect_timeout"})
# Options of which the driver does what these values ask for, and nothing else.
_FIXED = {
    "channel_binding": frozenset({"disable", "prefer"}),
    "client_encoding": frozenset({"utf8", "utf-8", "unicode", "auto"}),
    "gssdelegation": frozenset({"0"}),
    "gssencmode": frozenset({"disable", "prefer"}),
    "load_balance_hosts": frozenset({"disable"}),
    "replication": frozenset({"0", "false", "no", "off"}),
    "requiressl": frozenset({"0"}),
    "sslcertmode": frozenset({"allow"}),
    "sslcompression": frozenset({"0"}),
    "sslsni": frozenset({"1"}),
}
_REFUSED = frozenset(
    {
        *(
            "hostaddr",
            "max_protocol_version",
            "min_protocol_version",
            "require_auth",
            "requirepeer",
            "scram_client_key",
        ),
        *("scram_server_key", "sslcrldir", "sslkeylogfile", "oauth_ca_file", "oauth_client_id"),
        *("oauth_client_secret", "oauth_issuer", "oauth_scope"),
    }
)
_KNOWN = _ARGUMENTS | _IN_URL | _SOCKET.keys() | _OF_THE_URL | _OF_THE_SESSION | _FIXED.keys()


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A URL with its async driver, the arguments that the driver takes beside it, and options of its sockets."""

    url: URL
    connect_args: dict[str, Any]
    socket_options: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"


def parse_database_url(text: str) -> DatabaseUrl:
    """Parse `sqlite:///…`, `postgresql://…` or `postgres://…` with libpq's options, or an async driver form.

    Raises:
        ValueError: when no supported database is named; the message never contains the URL (it holds a password).
    """
    try:
        url = make_url(_move_hosts(text.strip()))
    except (ArgumentError, ValueError):
        raise ValueError("must look like sqlite:///./sync.db or postgresql://user:password@host/database") from None
    if url.drivername in _SQLITE:
        return DatabaseUrl(_sqlite(url), {})
    if url.drivername in _POSTGRESQL:
        return _postgresql(url)
    raise ValueError("must start with sqlite:// or postgresql://")


def _sqlite(url: URL) -> URL:
    if not url.database or url.database.startswith((":memory:", "file:")):
        raise ValueError("must name a file by its path: an in-memory database would forget its events")
    if url.host or "\0" in url.database:
        raise ValueError("must have three slashes and a path (sqlite:///./sync.db), or four before an absolute one")
    if set(url.query) - _SQLITE_OPTIONS:
        raise ValueError("has an option that is not known; for SQLite the URL takes none")
    return url.set(drivername="sqlite+aiosqlite", query={})


def _move_hosts(text: str) -> str:
    """Move several hosts, which SQLAlchemy does not read where libpq has them, into the options `host` and `port`."""
    scheme, separator, rest = text.partition("://")
    end = min((place for place in (rest.find("/"), rest.find("?")) if place >= 0), default=len(rest))
    user, at, hosts = rest[:end].rpartition("@")
    if not separator or "," not in hosts:
        return text
    pairs = [_split_port(part) for part in hosts.split(",")]
    moved = urlencode({"host": ",".join(host for host, _ in pairs), "port": ",".join(port for _, port in pairs)})
    return f"{scheme}://{user}{at}{rest[end:]}{'&' if '?' in rest[end:] else '?'}{moved}"


def _split_port(part: str) -> tuple[str, str]:
    host, _, port = part.rpartition(":") if part.count(":") == 1 or "]:" in part else (part, "", "")
    return unquote(host).removeprefix("[").removesuffix("]"), port


def _postgresql(url: URL) -> DatabaseUrl:
    options = _options(url)
    name = options.get("dbname", url.database)
    if not name:
        raise ValueError("must name a database: postgresql://user:password@host/database")
    for option in options.keys() & _FIXED.keys():
        if options[option].lower() not in _FIXED[option]:
            raise ValueError(
                f"{option} must be {' or '.join(sorted(_FIXED[option]))}, or left out: the driver has nothing else"
            )
    hosts, ports = _hosts(url, options)
    arguments = {option: options[option] for option in options.keys() & _ARGUMENTS}
    if len(hosts) > 1:
        arguments = {"target_session_attrs": "read-write"} | arguments
    if arguments.get("target_session_attrs", "any") not in _SERVERS:
        raise ValueError(f"target_session_attrs must be one of {', '.join(sorted(_SERVERS))}")
    arguments |= _tls(options, hosts) | _session(options)
    url = URL.create(
        "postgresql+asyncpg",
        username=options.get("user", url.username),
        password=options.get("password", url.password),
        database=name,
    )
    if len(hosts) == 1 and not hosts[0].startswith("/"):
        url = url.set(host=hosts[0] or None, port=int(ports[0]) if ports[0] else None)
    else:
        url = url.set(query={"host": ",".join(hosts), "port": ",".join(port or _PORT for port in ports)})
    return DatabaseUrl(url, arguments, _sockets(options))


def _options(url: URL) -> dict[str, str]:
    """The options of the URL by name; of `host` and `port` all values, separated by commas."""
    for name in url.query.keys() & _REFUSED:
        raise ValueError(f"{name} must be left out: the driver does not have this option")
    if url.query.keys() - _KNOWN:
        # It is not named: what stands there may be the rest of a password that has a question mark.
        raise ValueError("has an option that PostgreSQL does not know; a ? in a password is written %3F")
    options = {}
    for name, values in url.normalized_query.items():
        if len(values) > 1 and name not in ("host", "port"):
            raise ValueError(f"{name} must be given once")
        options[name] = ",".join(values)
    return options


def _hosts(url: URL, options: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """As many ports as hosts; an empty text stands for the default."""
    ports = _list(options, "port")
    if "host" in options:
        pairs = [(host, "") if ports else _split_port(host) for host in _list(options, "host")]
    else:
        pairs = [(url.host or "", "" if url.port is None else str(url.port))]
    ports = ports or [port for _, port in pairs]
    if len(ports) == 1:
        ports *= len(pairs)
    if len(ports) != len(pairs):
        raise ValueError("must have one port, or one for each host")
    if not all(_is_port(port) for port in (*ports, url.port) if port not in ("", None)):
        raise ValueError("must have a port from 1 to 65535")
    return [host for host, _ in pairs], ports


def _list(options: Mapping[str, str], name: str) -> list[str]:
    return options[name].split(",") if name in options else []


def _tls(options: Mapping[str, str], hosts: list[str]) -> dict[str, Any]:
    mode = options.get("sslmode") or options.get("ssl")
    if mode is not None and mode not in _SSL_MODES:
        raise ValueError(f"sslmode must be one of {', '.join(sorted(_SSL_MODES))}")
    if options.get("sslrootcert") == "system":
        if mode not in (None, "verify-full"):
            raise ValueError("sslrootcert=system needs sslmode=verify-full")
        context = ssl.create_default_context()
        if certificate := options.get("sslcert"):
            try:
                context.load_cert_chain(certificate, options.get("sslkey"), options.get("sslpassword"))
            except OSError as error:
                raise ValueError(
                    f"sslcert must be a readable certificate, with its key there or in sslkey: {error.strerror}"
                ) from None
        return {"ssl": context}
    _check_files(options, _list_read_files(mode or _default_mode(hosts), options))
    in_url = {name: options[name] for name in options.keys() & _IN_URL}
    arguments = {"dsn": f"postgresql:///?{urlencode(in_url)}"} if in_url else {}
    return arguments | ({"ssl": mode} if mode else {})


def _default_mode(hosts: list[str]) -> str:
    """What the driver takes when the URL has no mode."""
    has_network = not all(host.startswith("/") for host in hosts)
    return os.environ.get("PGSSLMODE") or ("prefer" if has_network else "disable")


def _list_read_files(mode: str, options: Mapping[str, str]) -> frozenset[str]:
    """The options whose files the driver reads: those of authorities only where TLS is required."""
    if mode == "disable":
        return frozenset()
    if mode in ("allow", "prefer"):
        return _CLIENT_FILES if "sslcert" in options else frozenset()
    return _FILES


def _check_files(options: Mapping[str, str], names: frozenset[str]) -> None:
    """The driver does not say which file it misses, and its error looks like that of a server that is not there yet."""
    for name in sorted(options.keys() & names):
        try:
            Path(options[name]).open("rb").close()
        except OSError as error:
            raise ValueError(f"{name} must name a readable file: {error.strerror}") from None


def _session(options: Mapping[str, str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    settings = {"options": options["options"]} if "options" in options else {}
    if name := options.get("application_name") or options.get("fallback_application_name"):
        settings["application_name"] = name
    if settings:
        arguments["server_settings"] = settings
    if seconds := _number(options, "connect_timeout"):
        arguments["timeout"] = float(seconds)
    return arguments


def _sockets(options: Mapping[str, str]) -> dict[str, int]:
    return {
        _SOCKET[name]: number
        for name in options.keys() & _SOCKET.keys()
        if (number := _number(options, name)) is not None
    }


def _number(options: Mapping[str, str], name: str) -> int | None:
    if name not in options:
        return None
    if not (options[name].isascii() and options[name].isdecimal()):
        raise ValueError(f"{name} must be a number")
    return int(options[name])


def _is_port(text: int | str) -> bool:
    return str(text).isdecimal() and 1 <= int(text) <= 65_535
