"""The socket that the service listens on."""

from __future__ import annotations

import socket
import sys


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to that address. Raises OSError if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the number of the protocol, asyncio does not know it for TCP and leaves Nagle's algorithm on: the second
    # of two short messages then waits for the first one's acknowledgement, 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def say_where_it_listens(listener: socket.socket, *, is_secret: bool) -> None:
    """Print the address, for people and for programs that started the service with port 0."""
    scheme = "https" if is_secret else "http"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"listening on {scheme}://{shown}:{port}\n")
    sys.stdout.flush()
