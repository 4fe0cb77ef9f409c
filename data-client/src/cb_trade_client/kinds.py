"""What a row of a series is: a bar of some length, or one of the kinds without bars, which have no timeframe."""

from typing import Final

OHLCV: Final = "ohlcv"
TRADES: Final = "trades"
FUNDING_RATE: Final = "funding_rate"
ORDER_BOOK: Final = "order_book"

WITHOUT_BARS: Final = (TRADES, FUNDING_RATE, ORDER_BOOK)


def kind_and_timeframe(name: str) -> tuple[str, str | None]:
    """Return the kind and the timeframe that one word of a command line names: `trades`, or `1m` for minute bars."""
    return (name, None) if name in WITHOUT_BARS else (OHLCV, name)


def series_name(exchange: str, symbol: str, kind: str, timeframe: str | None) -> str:
    """Return a series as people write it: `binance BTC/USDT 1m`, `binance BTC/USDT trades`."""
    return f"{exchange} {symbol} {timeframe or kind}"
