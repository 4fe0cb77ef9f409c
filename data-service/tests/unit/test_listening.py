from __future__ import annotations

import asyncio
import socket

from cb_trade_data.listening import listening_socket


async def test_short_messages_go_out_at_once_and_wait_for_no_acknowledgement_of_others():
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            peer = transport.get_extra_info("socket")
            accepted.set_result(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    listener = listening_socket("127.0.0.1", 0)
    async with await asyncio.get_running_loop().create_server(Accepting, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await accepted
        writer.close()
        await writer.wait_closed()
