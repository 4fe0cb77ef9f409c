"""The socket below a connection, connected here so that an opening that is given up leaves nothing behind.

The library that speaks WebSocket on it lets go of a connection whose handshake is cancelled without closing it.
"""

import asyncio
import socket
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from picows import WSParsedURL
from python_socks.async_.asyncio import Proxy

_CLOSE_TIMEOUT_SECS = 2


class Line:
    """One socket, to the service or to the proxy that leads there. Leaving the block with an error closes it."""

    def __init__(self, proxy: str | None) -> None:
        """*proxy* is the address of the proxy to go through, as of `proxies.proxy_for`."""
        is_socks = proxy is not None and urlsplit(proxy).scheme.startswith("socks")
        self._socks_proxy = proxy if is_socks else None
        self.http_proxy = None if is_socks else proxy
        """The proxy that the library is to ask for a tunnel; None where there is nothing to ask."""
        self._socket: socket.socket | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and self._socket is not None:
            await _cut(self._socket)

    async def connect(self, url: WSParsedURL) -> socket.socket:
        """Return a socket connected to the host of *url*: the service's, or an HTTP proxy's."""
        if self._socks_proxy is None:
            self._socket = await _connected(url.host, url.port)
        else:
            self._socket = await Proxy.from_url(self._socks_proxy).connect(url.host, url.port)
        self._socket.setblocking(False)
        return self._socket


async def _cut(line: socket.socket) -> None:
    """Close *line* from below, whoever has it by now: who reads from it takes it for a connection that was lost."""
    with suppress(OSError):  # the other side was faster, or it is closed already
        line.shutdown(socket.SHUT_RDWR)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_SECS):
                while line.fileno() != -1:  # noqa: ASYNC110 - nobody tells when a transport of the library has closed
                    await asyncio.sleep(0)
    finally:
        line.close()


async def _connected(host: str, port: int) -> socket.socket:
    """Return a socket connected to the first address of *host* that takes it."""
    loop = asyncio.get_running_loop()
    refusal = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            attempt = socket.socket(family, kind, protocol)
        except OSError as error:  # a machine without IPv6, say
            refusal = error
            continue
        attempt.setblocking(False)
        try:
            await loop.sock_connect(attempt, address)
        except OSError as error:
            attempt.close()
            refusal = error
        except BaseException:
            attempt.close()
            raise
        else:
            return attempt
    raise refusal
