"""Ports of this machine that are taken from the moment they are chosen."""

import socket
import weakref


class ReservedPort:
    """A TCP port of 127.0.0.1 for a process of a test, as long as this object lives.

    Its socket is bound and never listens. The kernel gives such a port to nobody who asks for any port, and nobody can
    connect to it; but a process that is given its number can listen there, and again after a restart, as both sockets
    allow the address to be reused. Source: SO_REUSEADDR in socket(7).
    """

    def __init__(self) -> None:
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        self.number: int = holder.getsockname()[1]
        weakref.finalize(self, holder.close)
