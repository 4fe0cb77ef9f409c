"""CCXT's class with checks added, where it would take a broken answer for an empty one, or for another failure.

Imports CCXT, which takes half a second: to be imported off the event loop, by those who need it.
"""

from __future__ import annotations

from typing import Any, Final

import ccxt.async_support as ccxt
import pyarrow as pa

from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.plugins.candle_columns import candle_columns
from cb_trade_data.exchange_source.plugins.ccxt_errors import refuse_by_status, says_unknown_symbol, translated
from cb_trade_data.exchange_source.plugins.discreet import discreet_class
from cb_trade_data.exchange_source.plugins.event_rows import with_event_rows
from cb_trade_data.exchange_source.plugins.kept_answers import keep, kept_answers, parts_of, with_answers_kept

# Time, open, high, low and close.
_COLUMNS_MIN: Final = 5


def distrustful_class(facts: ExchangeFacts) -> type[Any]:
    """Return CCXT's class of an exchange, which believes less.

    An answer is judged by its status first, then it must be JSON, then CCXT has its say: all of that with the answer in
    hand, so that concurrent calls cannot be mixed up. Rows are handed on as they came, neither sorted nor filtered nor
    cut, so that the validation sees what the exchange really said. They come as columns: a class that would add bars of
    its own making fails at it.
    """
    return with_event_rows(_with_columns(_judging_class(facts)))


def _judging_class(facts: ExchangeFacts) -> type[Any]:
    class Judging(discreet_class(getattr(ccxt, facts.id))):  # type: ignore[misc]
        def handle_errors(self, status: int, reason: str, url: str, method: str, headers: dict[str, str], body: str,
                          response: Any, *request: Any) -> None:  # fmt: skip
            refuse_by_status(facts, status, self.without_credentials(reason), headers)
            if response is None:
                raise ccxt.BadResponse(f"{self.id} answered HTTP {status} with something that is not JSON")
            try:
                super().handle_errors(status, reason, url, method, headers, body, response, *request)
                self.handle_http_status_code(status, reason, url, method, body)
            except ccxt.BaseError as error:
                raise _judged(facts, error, status, body) from error

        async def fetch(self, *args: Any, **kwargs: Any) -> Any:
            answer = await super().fetch(*args, **kwargs)
            # CCXT reads an empty object as an empty list; no venue means that by it.
            if not isinstance(answer, dict | list) or answer == {}:
                raise ccxt.BadResponse(f"{self.id} answered with something that is not JSON")
            keep(answer)
            return answer

    return Judging


def _with_columns(judging: type[Any]) -> type[Any]:
    class Distrustful(judging):  # type: ignore[misc]
        async def fetch_ohlcv(self, *args: Any, **kwargs: Any) -> Any:
            return await with_answers_kept(super().fetch_ohlcv(*args, **kwargs))

        def parse_ohlcvs(self, ohlcvs: Any, market: Any = None, *_: Any, **__: Any) -> pa.Table:
            # Where an answer lacks its list, CCXT takes an empty one of its own.
            came_so = ohlcvs or _says_none(kept_answers(), ohlcvs)
            return _candles(self, ohlcvs if came_so else None, market)

    return Distrustful


def _judged(facts: ExchangeFacts, error: Exception, status: int, body: str) -> Exception:
    """Return what CCXT's *error* means; BadSymbol where the symbol is unknown, which the client knows and we do not."""
    if isinstance(error, ccxt.BadSymbol) or says_unknown_symbol(facts, body):
        unknown: Exception = ccxt.BadSymbol(f"{facts.id} {body}")
        return unknown
    return translated(facts, error, "", status)


def _says_none(answers: list[Any], candles: Any) -> bool:
    """Tell whether one of *answers* says that there are no candles; *candles* is the empty list that CCXT made of them.

    Either that is the very list of the answer, or the answer has columns, all of them empty. One empty list more in an
    answer says nothing: Kraken's errors are one.

    That is what the code of CCXT 4.5.90 tells of all its classes. Bitget, HTX, KuCoin and others (`data`), Bitstamp
    (`data.ohlc`), Mudrex (three levels down), Bitfinex, Gate, Gemini and MEXC's spot markets (the answer itself) hand
    on the list that came. Deribit, Coinbase International, Mercado and MEXC's contracts make rows of columns. Two would
    say "nothing" otherwise and are not believed: Alpaca by an empty object, bitbank by a list within a list.
    """
    return any(part is candles or _has_empty_columns(part) for answer in answers for part in parts_of(answer))


def _has_empty_columns(part: Any) -> bool:
    lists = [value for value in part.values() if isinstance(value, list)] if isinstance(part, dict) else []
    return len(lists) >= _COLUMNS_MIN and not any(lists)


def _candles(exchange: Any, ohlcvs: Any, market: Any) -> pa.Table:
    if not isinstance(ohlcvs, list) or not all(ohlcvs) or not set(map(type, ohlcvs)) <= {list, dict}:
        raise ccxt.BadResponse(f"{exchange.id} answered with something that is not candles")
    try:
        return candle_columns(ohlcvs, lambda candle: exchange.parse_ohlcv(candle, market))
    except (ValueError, OverflowError) as error:
        raise ccxt.BadResponse(f"{exchange.id} sent a candle that cannot be read: {error}") from error
