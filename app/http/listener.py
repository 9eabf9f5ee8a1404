"""Takes a port before anything is served on it, so that one that can not be had is known at once."""

import socket


class PortTaken(Exception):
    """A port can not be listened on."""


def address(host: str, port: int) -> str:
    """Both as in a URL (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(host: str, port: int, *, setting: str, shared: bool = False) -> socket.socket:
    """A socket of its own at `port`, which listens once it is served; `shared`: other processes may have the port too.

    Raises:
        PortTaken: when the port can not be had; names the `setting` that it is from.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"{setting}: can not listen on {address(host, port)}: {error.strerror}") from None
    return listener
