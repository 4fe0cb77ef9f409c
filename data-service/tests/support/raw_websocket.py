"""A WebSocket client that keeps no rule: frames are put together by hand (RFC 6455, section 5.2), right or wrong."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from collections.abc import Mapping
from typing import Final

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

_READ_BYTES: Final = 256 * 1024
_HEADERS_MAX_BYTES: Final = 64 * 1024
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER


def frame(
    payload: bytes,
    opcode: int = TEXT,
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = bytes(4),
    length: int | None = None,
) -> bytes:
    """Return a client's frame, with whatever is wrong with it.

    Args:
        rsv: The three reserved bits, 0 to 7.
        mask: Four bytes, of which zeros leave the payload as it is; None: not masked, which clients may not.
        length: What the header says of the payload; None: the truth.
    """
    size = len(payload) if length is None else length
    masked = 0 if mask is None else 0x80
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if size < 126:
        head = struct.pack("!BB", first, masked | size)
    elif size < 2**16:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    return head + (payload if mask is None else mask + _masked(payload, mask))


def _masked(payload: bytes, mask: bytes) -> bytes:
    if not any(mask):
        return payload
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def handshake(target: str = "/ws/data", headers: Mapping[str, str] | None = None) -> bytes:
    """Return the request that opens a WebSocket at *target*."""
    fields = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        **(headers or {}),
    }
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class RawConnection:
    """A connection on which anything can be sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._received = bytearray()

    async def __aenter__(self) -> RawConnection:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.vanish()

    @classmethod
    async def to(cls, port: int) -> RawConnection:
        """Connect, and say nothing."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    @classmethod
    async def opened(cls, port: int, token: str) -> RawConnection:
        """Connect, and open the data socket."""
        connection = await cls.to(port)
        await connection.send(handshake(headers={"Authorization": f"Bearer {token}"}))
        status = await connection.status()
        if status != 101:
            raise ConnectionError(f"the handshake was answered with {status}")
        return connection

    async def send(self, data: bytes) -> None:
        """Send *data* as it is; wait while the other side does not read."""
        self._writer.write(data)
        await self._writer.drain()

    async def status(self) -> int | None:
        """Read the answer to a handshake up to its body, and return its HTTP status; None if there is no answer."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) > _HEADERS_MAX_BYTES or not await self._receive():
                return None
        head = bytes(self._received[:end])
        del self._received[: end + 4]
        return int(head.split(b" ", 2)[1])

    async def frame(self) -> tuple[int, bytes] | None:
        """Return the next frame's opcode and payload; None when the connection has ended. Pings are answered here."""
        while (found := self._parsed()) is None or found[0] == PING:
            if found is not None:
                self._writer.write(frame(found[1], PONG))
            elif not await self._receive():
                return None
        return found

    def _parsed(self) -> tuple[int, bytes] | None:
        data = self._received
        if len(data) < 2:
            return None
        size, begin = data[1] & 0x7F, 2
        if size >= 126:
            begin = 4 if size == 126 else 10
            if len(data) < begin:
                return None
            size = int.from_bytes(data[2:begin], "big")
        if len(data) < begin + size:
            return None
        opcode, payload = data[0] & 0x0F, bytes(data[begin : begin + size])
        del data[: begin + size]
        return opcode, payload

    async def _receive(self) -> bool:
        try:
            data = await self._reader.read(_READ_BYTES)
        except ConnectionError:
            return False
        self._received += data
        return bool(data)

    async def close_code(self) -> int | None:
        """Read up to the end; return the code of the close frame, None if none came."""
        while (found := await self.frame()) is not None:
            opcode, payload = found
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big") if payload else 1005
        return None

    def vanish(self, *, reset: bool = True) -> None:
        """Be gone without a word: with a reset, or as a process that ends."""
        if reset:
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self._writer.transport.abort()
