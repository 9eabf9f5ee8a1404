"""Where subscribers may be: which URLs, ports and network addresses."""

import re
import socket
from collections.abc import Collection
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

# What `is_global` lets pass: ways to write an IPv4 address as another one (RFC 6052, RFC 8215, RFC 4291, RFC 3056,
# RFC 4380), and ranges that no host on the public internet has.
_NOT_PUBLIC = tuple(
    IPv6Network(net)
    for net in (
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # local NAT64
        "::/96",  # IPv4-compatible, and unspecified and loopback with it
        "::ffff:0:0/96",  # IPv4-mapped
        "2002::/16",  # 6to4
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2001:db8::/32",
        "3fff::/20",
        "fec0::/10",  # site-local
        "100::/64",
        "5f00::/16",  # segment routing
    )
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_URL_CHARACTERS = 2048
_PRINTABLE = re.compile(r"[\x21-\x7E]+")


class AddressRefused(Exception):
    """A subscriber may not be there; the message says why, and repeats nothing of what was sent."""


class AddressPolicy:
    """Which subscribers are allowed.

    Unless `allow_private`, only addresses of the public internet are: no private, loopback, link-local, shared (CGNAT),
    multicast, reserved or documentation addresses, in whatever form they are embedded in others. An empty set of
    `ports` allows all.
    """

    def __init__(self, *, allow_private: bool, ports: Collection[int]) -> None:
        self._allow_private = allow_private
        self._ports = frozenset(ports)

    def check_url(self, url: str) -> None:
        """What can be said before a name is resolved. A host that is a number in any spelling is an address.

        Raises:
            AddressRefused: for a scheme other than http and https, user information, a fragment, a port that is not
                allowed, a host that can not be one, or an address that is not public.
        """
        parts = _split(url)
        if parts.scheme not in _DEFAULT_PORTS:
            raise AddressRefused("The URL must begin with http:// or https://.")
        if "@" in parts.netloc:
            raise AddressRefused("The URL must not hold a user name or a password; use the subscription's headers.")
        if "#" in url:
            raise AddressRefused("The URL must not have a fragment.")
        self._check_port(parts)
        host = _host(parts)
        address = literal_address(host)
        if address is not None:
            self.check_address(str(address))
        elif not self._allow_private and host.rstrip(".").lower().split(".")[-1] == "localhost":  # RFC 6761
            raise AddressRefused("The host is at an address that is not public.")

    def check_address(self, address: str) -> None:
        """The same for an address that a name was resolved to.

        Raises:
            AddressRefused: when it is not public.
        """
        if self._allow_private:
            return
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            raise AddressRefused("The host was resolved to what is no address.") from None
        if not is_public(parsed):
            raise AddressRefused("The host is at an address that is not public.")

    def _check_port(self, parts: SplitResult) -> None:
        try:
            port = parts.port
        except ValueError:
            raise AddressRefused("The URL's port is not a number from 1 to 65535.") from None
        port = _DEFAULT_PORTS[parts.scheme] if port is None else port
        if port == 0 or (self._ports and port not in self._ports):
            raise AddressRefused("The URL's port is not one of those that are allowed.")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the public internet routes to `address`, by the registries of IANA (RFC 6890)."""
    if isinstance(address, IPv6Address) and any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that `host` is a spelling of, None when it is a name.

    Decimal, octal and hexadecimal numbers of one to four parts are addresses too, as the C library reads them.
    """
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host.rstrip(".")))
    except (OSError, AddressValueError):
        return None


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_CHARACTERS:
        raise AddressRefused(f"The URL has more than {MAX_URL_CHARACTERS} characters.")
    if not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise AddressRefused("The URL must be printable ASCII; write other host names in their xn-- form.")
    try:
        return urlsplit(url)
    except ValueError:
        raise AddressRefused("This is not a URL.") from None


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    name = host.rstrip(".")
    labels = name.split(".")
    if not name or "%" in host or (":" not in host and not all(_is_label(label) for label in labels)):
        raise AddressRefused("The URL has no host that can be one.")
    return host


def _is_label(label: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", label))
