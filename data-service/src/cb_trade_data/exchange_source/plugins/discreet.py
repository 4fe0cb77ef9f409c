"""CCXT's class with care for an account's key: used where a call needs it, and shown nowhere."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

# Whether CCXT is finding out which markets there are, and not signing a call meanwhile.
_looking_up_markets: ContextVar[bool] = ContextVar("looking_up_markets", default=False)


def discreet_class(base: type[Any]) -> type[Any]:
    """Return *base*, a class of CCXT's, so that markets are looked up as without a key, and no answer shows it."""

    class Discreet(base):  # type: ignore[misc]
        async def fetch_markets(self, *args: Any, **kwargs: Any) -> Any:
            return await _looked_up(super().fetch_markets, *args, **kwargs)

        async def fetch_currencies(self, *args: Any, **kwargs: Any) -> Any:
            return await _looked_up(super().fetch_currencies, *args, **kwargs)

        def check_required_credentials(self, error: bool = True) -> bool:
            # Without `error` it is asked whether to look up more of the account: its fees, networks, margins. Nothing
            # of that is history, and each is one more call that may fail, or that the key may not make.
            if not error and _looking_up_markets.get():
                return False
            return bool(super().check_required_credentials(error))

        def sign(self, *args: Any, **kwargs: Any) -> Any:
            token = _looking_up_markets.set(False)
            try:
                return super().sign(*args, **kwargs)
            finally:
                _looking_up_markets.reset(token)

        def on_rest_response(self, code: int, reason: str, url: str, method: str, response_headers: dict[str, str],
                             response_body: str, *request: Any) -> str:  # fmt: skip
            # Some exchanges quote a key that they do not like, and what they say goes into errors and logs.
            body = super().on_rest_response(code, reason, url, method, response_headers, response_body, *request)
            return self.without_credentials(body)

        def without_credentials(self, text: str) -> str:
            for credential in filter(None, (self.apiKey, self.secret)):
                text = text.replace(credential, "(credential)")
            return text

    return Discreet


async def _looked_up(fetch: Any, *args: Any, **kwargs: Any) -> Any:
    token = _looking_up_markets.set(True)
    try:
        return await fetch(*args, **kwargs)
    finally:
        _looking_up_markets.reset(token)
