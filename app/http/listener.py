"""Binds a port before anything is served on it, so that a port in use is reported at once."""

import socket


class PortTaken(Exception):
    """The service cannot listen on a port."""


def address(host: str, port: int) -> str:
    """Host and port as in a URL (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(host: str, port: int, *, setting: str, shared: bool = False) -> socket.socket:
    """A socket bound to `port`, which listens once it is served. With `shared`, other processes can bind the port too.

    Raises:
        PortTaken: the service cannot listen on the port; the message names its `setting`.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"{setting}: cannot listen on {address(host, port)}: {error.strerror}") from None
    return listener
