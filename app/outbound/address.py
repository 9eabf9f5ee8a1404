"""Decides which addresses requests may go to, by the URL as written and by the addresses of its host."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

import httpx

from app.config import Settings

MAX_URL_CHARACTERS = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}
NOT_PUBLIC = "The host is at an address that is not public; WEBHOOK_ALLOW_PRIVATE_ADDRESSES allows these."

_PLAIN = re.compile(r"[^\x00-\x20\x7F\\]+")
# The digits of a port are ASCII, as in browsers: `int` reads full-width ones, signs and underscores too.
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]*(?:%[^\]]*)?\]|[^\[\]:]*)(?::([0-9]*))?", re.ASCII)
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
# What the C library, and browsers (URL Standard, "ends in a number"), take for an IPv4 address in whatever base.
_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")

# IANA's special-purpose registries, where Python's own `is_global` depends on its version, and what clouds add.
_NOT_PUBLIC_4 = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT, and the metadata of Alibaba Cloud
            "127.0.0.0/8",
            "168.63.129.16/32",  # the host of an Azure machine
            "169.254.0.0/16",  # link-local, and the metadata of most clouds
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
_GLOBAL_6 = ip_network("2000::/3")  # all else is local, mapped, translated (NAT64), multicast or unassigned
_NOT_PUBLIC_6 = tuple(
    map(
        ip_network,
        (
            "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
            "2001:db8::/32",
            "2002::/16",  # 6to4
            "3fff::/20",
        ),
    )
)


class AddressRefused(ValueError):
    """The address is not allowed; the message has the reason and does not repeat the input."""


class Target(NamedTuple):
    """The parts of a URL; `host` is lower-case ASCII, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int
    path: bytes

    @property
    def authority(self) -> str:
        """Host and port, without the scheme's own port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What the operator allows: whether private addresses, and which ports; an empty `ports` allows any."""

    allow_private: bool
    ports: Collection[int]

    @classmethod
    def of(cls, settings: Settings) -> "AddressPolicy":
        """The policy that the settings ask for; port 0 there means any."""
        ports = frozenset(settings.webhook_ports)
        return cls(settings.webhook_allow_private_addresses, frozenset() if 0 in ports else ports)

    def check_url(self, url: str) -> str:
        """Refuse what can be refused without DNS; returns the URL with scheme, host and port as they were checked.

        Raises:
            AddressRefused: for its scheme, user info, port, fragment, or a host that is no name and no public address.
        """
        target = self.get_target(url)
        authority = _split(url)[2]
        rest = url.partition("//")[2][len(authority) :]
        return f"{target.scheme}://{target.authority}{rest}"

    def check_address(self, ip: str) -> None:
        """Refuse an address that a name resolved to.

        Raises:
            AddressRefused: it is not public, and only public ones are allowed.
        """
        try:
            address = ip_address(ip.partition("%")[0])  # without the zone of a link-local one
        except ValueError:
            raise AddressRefused("The host resolved to something that is not an IP address.") from None
        if not self.allow_private and not is_public(address):
            raise AddressRefused(NOT_PUBLIC)

    def get_target(self, url: str) -> Target:
        """The parts of a URL that `check_url` accepts.

        Raises:
            AddressRefused: as `check_url` does.
        """
        target = _parse(url)
        if self.ports and target.port not in self.ports:
            raise AddressRefused("WEBHOOK_PORTS does not allow the URL's port.")
        self._check_host(target.host)
        return target

    def _check_host(self, host: str) -> None:
        if host.endswith("."):
            raise AddressRefused("The URL's host must not end with a dot.")
        if ":" in host or _NUMBER.fullmatch(host):
            if not _is_canonical(host):
                raise AddressRefused("An IP address must be written in its usual form.")
            self.check_address(host)
        elif not _NAME.fullmatch(host):
            raise AddressRefused("The URL has no valid host.")
        elif not self.allow_private and f".{host}".endswith(".localhost"):
            raise AddressRefused(NOT_PUBLIC)  # RFC 6761, section 6.3


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether `address` is a public unicast address, and not one of a translator that leads elsewhere."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _GLOBAL_6 and not any(address in network for network in _NOT_PUBLIC_6)


def _parse(url: str) -> Target:
    if len(url) > MAX_URL_CHARACTERS:
        raise AddressRefused(f"The URL has more than {MAX_URL_CHARACTERS} characters.")
    if not _PLAIN.fullmatch(url):
        raise AddressRefused("The URL must not have spaces, backslashes or control characters.")
    try:
        parts = httpx.URL(url)
        host = parts.raw_host.decode("ascii").lower()
    except (httpx.InvalidURL, ValueError):
        raise AddressRefused("This is not a URL.") from None
    _check_parts(url, parts)
    port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    if not 1 <= port <= 65_535:
        raise AddressRefused("The URL's port is not a number from 1 to 65535.")
    return Target(parts.scheme, host, port, parts.raw_path)


def _check_parts(url: str, parts: httpx.URL) -> None:
    if parts.scheme not in DEFAULT_PORTS:
        raise AddressRefused("The URL must begin with https:// or http://.")
    if not parts.raw_host:
        raise AddressRefused("The URL has no valid host.")
    authority = _split(url)[2]
    if parts.userinfo or "@" in authority:
        raise AddressRefused("The URL must not hold a user name or a password; use headers.")
    if not _AUTHORITY.fullmatch(authority):
        raise AddressRefused("The URL's port is not a number from 1 to 65535.")
    if "#" in url:
        raise AddressRefused("The URL must not have a fragment.")


def _split(url: str) -> list[str]:
    """Scheme, nothing, authority, and the rest, of a URL that begins with `scheme://`."""
    return re.split(r"[/?#]", url)


def _is_canonical(host: str) -> bool:
    if "%" in host:  # a zone, which means something on this machine alone
        return False
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return isinstance(address, IPv6Address) or str(address) == host
