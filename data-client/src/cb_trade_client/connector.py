"""Opens a client's connections, and remembers whether its service was ever there."""

import asyncio
from collections.abc import Awaitable, Callable

from cb_trade_client.connection import Connection
from cb_trade_client.errors import AuthenticationError, CbTradeError
from cb_trade_client.retrying import is_lost_connection, is_temporary, is_unreachable
from cb_trade_client.token_renewal import keep_renewed


class Connector:
    """The way to one service.

    Where nobody ever answered, the address is likely wrong. Where somebody did, it is worth another try:
    services restart.
    """

    def __init__(self, url: str, new_token: Callable[[], Awaitable[str]], *, can_renew_token: bool) -> None:
        """*url* is the WebSocket address of the service; *can_renew_token* tells whether *new_token* has newer ones."""
        self._url = url
        self.new_token = new_token
        self._can_renew_token = can_renew_token
        self._was_reached = False
        self._is_closed = False
        self._renewals: set[asyncio.Task[None]] = set()

    async def open(self) -> Connection:
        """Return a new connection; raises what `Connection.open` does, and RuntimeError once this is closed."""
        self.refuse_if_closed()
        token = await self.new_token()
        connection = await Connection.open(self._url, token)
        self.note_reached()
        if self._is_closed:  # meanwhile
            await connection.aclose()
        self.refuse_if_closed()
        if self._can_renew_token:
            renewal = asyncio.create_task(keep_renewed(connection, token, self.new_token))
            self._renewals.add(renewal)
            renewal.add_done_callback(self._renewals.discard)
        return connection

    def close(self) -> None:
        """Open no connection and ask nothing any more, whoever wants it, and renew none; those that there are stay."""
        self._is_closed = True
        for renewal in self._renewals:
            renewal.cancel()

    def refuse_if_closed(self) -> None:
        """Raise RuntimeError once this is closed."""
        if self._is_closed:
            raise RuntimeError("the client is closed")

    def note_reached(self) -> None:
        """Remember that the service has answered, whatever it said."""
        self._was_reached = True

    def is_lost(self, error: CbTradeError) -> bool:
        """Return whether *error* means that a connection, or the way to one, was there before and is not there now."""
        if isinstance(error, AuthenticationError):  # it was good before, so it has expired
            return self._was_reached and self._can_renew_token
        return is_lost_connection(error) or (self._was_reached and is_unreachable(error))

    def is_away(self, error: CbTradeError) -> bool:
        """Return whether *error* is one that passes, for who has time: as `is_lost`, and all that is busy for now."""
        return self.is_lost(error) or (self._was_reached and is_temporary(error))

    def is_passing(self, error: CbTradeError) -> bool:
        """Return whether *error* passes, for who asks over HTTP, of a service that has answered, if only with it."""
        return self._was_reached and is_temporary(error)
