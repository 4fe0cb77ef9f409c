"""Opens a client's connections, and remembers whether its service was ever there."""

from collections.abc import Awaitable, Callable

from cb_trade_client.connection import Connection
from cb_trade_client.errors import AuthenticationError, CbTradeError
from cb_trade_client.retrying import is_lost_connection, is_temporary, is_unreachable


class Connector:
    """The way to one service.

    Where nobody ever answered, the address is likely wrong. Where somebody did, it is worth another try:
    services restart.
    """

    def __init__(self, url: str, new_token: Callable[[], Awaitable[str]], *, can_renew_token: bool) -> None:
        """*url* is the WebSocket address of the service; *can_renew_token* tells whether *new_token* has newer ones."""
        self._url = url
        self._new_token = new_token
        self._can_renew_token = can_renew_token
        self._was_reached = False
        self._is_closed = False

    async def open(self) -> Connection:
        """Return a new connection; raises what `Connection.open` does, and RuntimeError once this is closed."""
        self._refuse_if_closed()
        connection = await Connection.open(self._url, await self._new_token())
        self._was_reached = True
        if self._is_closed:  # meanwhile
            await connection.aclose()
        self._refuse_if_closed()
        return connection

    def close(self) -> None:
        """Open no connection any more, whoever asks; those that there are stay."""
        self._is_closed = True

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise RuntimeError("the client is closed")

    def is_lost(self, error: CbTradeError) -> bool:
        """Return whether *error* means that a connection, or the way to one, was there before and is not there now."""
        if isinstance(error, AuthenticationError):  # it was good before, so it has expired
            return self._was_reached and self._can_renew_token
        return is_lost_connection(error) or (self._was_reached and is_unreachable(error))

    def is_away(self, error: CbTradeError) -> bool:
        """Return whether *error* is one that passes, for who has time: as `is_lost`, and all that is busy for now."""
        return self.is_lost(error) or (self._was_reached and is_temporary(error))
