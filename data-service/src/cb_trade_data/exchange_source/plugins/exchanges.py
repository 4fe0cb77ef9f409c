"""One row of facts per exchange that is proven to be served exactly.

Both ends of a window are written so that it does not matter whether the exchange takes them as inclusive or exclusive
wherever its documentation leaves a doubt: one unit inside a bar can only be read in one way.

A pace is about 97 % of what the exchange allows, and its burst such that burst and pace together stay within the limit
in every span that the exchange may count by.

Left out are bars whose grid is not ours, or not known to be: Kraken's `2w`, which are 15 days, and Crypto.com's, of
which nobody says in which of two weeks they begin.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from cb_trade_data.exchange_source.facts import Bounds, EventPaging, ExchangeFacts, Pace, TimeUnit
from cb_trade_data.models.series import Kind

_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
# What "three months" are at the least.
_THREE_MONTHS: Final = timedelta(days=89)
_ONE_MS_BEFORE: Final = -timedelta(milliseconds=1)
_ONE_SECOND_BEFORE: Final = -_SECOND

# The newest of a window, its start inclusive, its end exclusive.
# https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html#public-get-trades
_CRYPTOCOM_TRADES: Final = EventPaging(150, Bounds("start_ts", "end_ts", count="count"), newest_first=True)

# Hourly. Whether its ends are inclusive is not said; both are written so that it does not matter, in milliseconds, for
# it pays at full hours.
# https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html#public-get-valuations
_CRYPTOCOM_FUNDING: Final = EventPaging(
    300,
    Bounds("start_ts", "end_ts", count="count", start_step=_ONE_MS_BEFORE),
    newest_first=True,
    settle_margin=_MINUTE,
)

# The newest `count` bars of the window. Whether its ends are inclusive is not said.
# https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html#public-get-candlestick
CRYPTOCOM: Final = ExchangeFacts(
    id="cryptocom",
    timeframes=("1m", "5m", "15m", "30m", "1h", "4h", "6h", "12h", "1d", "1w", "1M"),
    page_limit_bars=300,
    # Without a count it answers with 25 rows.
    bounds=Bounds("start_ts", "end_ts", count="count", start_step=_ONE_MS_BEFORE, end_step=_ONE_MS_BEFORE),
    # 100 a second and method.
    pace=Pace(97, _SECOND, burst=3),
    concurrent_calls=16,
    unknown_symbol_words=("invalid instrument_name",),
    spot_events=MappingProxyType({Kind.TRADES: _CRYPTOCOM_TRADES}),
    perpetual_events=MappingProxyType({Kind.TRADES: _CRYPTOCOM_TRADES, Kind.FUNDING_RATE: _CRYPTOCOM_FUNDING}),
)

_BINANCE_BOUNDS: Final = Bounds("startTime", "endTime", end_step=_ONE_MS_BEFORE)

# The oldest of a window, both ends inclusive.
# https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#compressedaggregate-trades-list
# https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Compressed-Aggregate-Trades-List
# https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Get-Funding-Rate-History
_BINANCE_TRADES: Final = EventPaging(1000, _BINANCE_BOUNDS, page_cost=2, id_parameter="fromId")

# From startTime on, both ends inclusive; asked from before the listing on it begins with the first bar.
# https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data
# https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Kline-Candlestick-Data
BINANCE: Final = ExchangeFacts(
    id="binance",
    timeframes=(
        "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
    ),
    page_limit_bars=1000,
    bounds=_BINANCE_BOUNDS,
    jumps_to_first=True,
    # 6000 weight a minute, of which a page takes 2; perpetuals have 2400 for themselves, of which a full page takes 5.
    pace=Pace(2910, timedelta(minutes=1), burst=80),
    perpetual_page_cost=6.25,
    markets_cost=10,
    concurrent_calls=16,
    ccxt_market_types=("spot", "linear"),
    # A page of aggregate trades has a weight of 4; one of perpetuals has 20, spans an hour at most and lies in the last
    # year. Funding may be asked for 500 times in five minutes.
    spot_events=MappingProxyType({Kind.TRADES: _BINANCE_TRADES}),
    perpetual_events=MappingProxyType(
        {
            Kind.TRADES: replace(
                _BINANCE_TRADES, page_cost=25, window_max=timedelta(hours=1), history=timedelta(days=365)
            ),
            Kind.FUNDING_RATE: EventPaging(1000, _BINANCE_BOUNDS, page_cost=30, settle_margin=_MINUTE),
        }
    ),
)  # fmt: skip

# Always its newest 720 bars, the open one included; `since` only leaves out what opened up to then.
# https://docs.kraken.com/api-reference/market-data/get-ohlc-data
KRAKEN: Final = ExchangeFacts(
    id="kraken",
    timeframes=("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"),
    page_limit_bars=720,
    bounds=Bounds("since", None, unit=TimeUnit.SECONDS, start_step=_ONE_SECOND_BEFORE),
    history_bars=720,
    # One a second, and a counter that forgives ten.
    pace=Pace(97, timedelta(seconds=100), burst=3),
    markets_cost=2,
    concurrent_calls=2,
    unknown_symbol_words=("EQuery:Unknown asset pair",),
    # The oldest after `since`, exclusive and in nanoseconds, all there ever were.
    # https://docs.kraken.com/api-reference/market-data/get-recent-trades
    spot_events=MappingProxyType(
        {
            Kind.TRADES: EventPaging(
                1000,
                Bounds("since", None, count="count", unit=TimeUnit.NANOSECONDS, start_step=-timedelta(microseconds=1)),
            )
        }
    ),
)

# A window whose end is inclusive; minutes without trades are omitted. It refuses windows of more than 350 bars, in
# words ("less than 350") that its documentation ("maximum 350") does not share: 300, as CCXT asks, is safe.
# https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-product-candles
COINBASE: Final = ExchangeFacts(
    id="coinbase",
    timeframes=("1m", "5m", "15m", "30m", "1h", "2h", "6h", "1d"),
    page_limit_bars=300,
    windows_only=True,
    bounds=Bounds("start", "end", unit=TimeUnit.SECONDS, end_step=_ONE_SECOND_BEFORE),
    # 10 a second.
    pace=Pace(97, timedelta(seconds=10)),
    markets_cost=5,
    unknown_symbol_words=("valid product_id is required",),
    # The newest of whole seconds.
    # https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-market-trades
    spot_events=MappingProxyType(
        {
            Kind.TRADES: EventPaging(
                1000,
                Bounds("start", "end", unit=TimeUnit.SECONDS, end_step=_SECOND + _ONE_MS_BEFORE),
                newest_first=True,
                # Its page does not say whose side it is. Those of Coinbase Exchange say the maker's of the same
                # trades: https://docs.cdp.coinbase.com/exchange/websocket-feed/channels#match
                tells_maker_side=True,
            )
        }
    ),
)

# A window whose end is inclusive; rows from before it may come along, minutes without trades are omitted.
# https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
COINBASEEXCHANGE: Final = ExchangeFacts(
    id="coinbaseexchange",
    timeframes=("1m", "5m", "15m", "1h", "6h", "1d"),
    page_limit_bars=300,
    windows_only=True,
    bounds=Bounds("start", "end", unit=TimeUnit.ISO, end_step=_ONE_SECOND_BEFORE),
    # 10 a second, 15 in bursts.
    pace=Pace(97, timedelta(seconds=10), burst=5),
    markets_cost=2,
    unknown_symbol_words=('"NotFound"',),
)

# Newest first, both ends inclusive; with a start alone from there on, so that a listing costs one call. CCXT rounds the
# start up to a multiple of the bar's length from 1970, of 30 days for a month: the bounds are laid over that.
# https://bybit-exchange.github.io/docs/v5/market/kline
BYBIT: Final = ExchangeFacts(
    id="bybit",
    timeframes=("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d", "1w", "1M"),
    page_limit_bars=1000,
    bounds=Bounds("start", "end", end_step=_ONE_MS_BEFORE),
    jumps_to_first=True,
    # 600 in 5 seconds, beyond which it answers 403 for ten minutes.
    pace=Pace(582, timedelta(seconds=5), burst=15),
    markets_cost=2,
    concurrent_calls=16,
    limit_statuses=frozenset({403, 418, 429}),
    unknown_symbol_words=("symbol invalid", "symbol is invalid", "not supported symbols"),
    ccxt_market_types=("spot", "linear"),
    # The newest of a window, both ends inclusive. Of trades it has the newest thousand only, which no window asks for.
    # https://bybit-exchange.github.io/docs/v5/market/history-fund-rate
    perpetual_events=MappingProxyType(
        {
            Kind.FUNDING_RATE: EventPaging(
                200,
                Bounds("startTime", "endTime", end_step=_ONE_MS_BEFORE),
                newest_first=True,
                settle_margin=_MINUTE,
            )
        }
    ),
)

# The newest before a time, exclusive; there is no other way to ask by time.
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-trades-history
_OKX_TRADES: Final = EventPaging(
    100,
    Bounds(None, "after"),
    parameters=MappingProxyType({"method": "publicGetMarketHistoryTrades", "type": "2"}),
    newest_first=True,
    history=_THREE_MONTHS,
    settle_margin=_MINUTE,
)

# The newest of a window, both ends exclusive. Ten calls in two seconds.
# https://www.okx.com/docs-v5/en/#public-data-rest-api-get-funding-rate-history
_OKX_FUNDING: Final = EventPaging(
    400,
    Bounds("before", "after", start_step=_ONE_MS_BEFORE),
    newest_first=True,
    history=_THREE_MONTHS,
    page_cost=2,
    settle_margin=_MINUTE,
)

# Newest first, both ends exclusive. Bars of six hours and longer are asked for in their UTC variants: the plain ones
# follow Hong Kong's days. The address of history knows every bar, the open one included; the other one only the newest
# 1440, and CCXT's change from one to the other, by this machine's clock, can lose a bar at the border.
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks-history
OKX: Final = ExchangeFacts(
    id="okx",
    timeframes=("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d", "1w", "1M", "3M"),
    page_limit_bars=300,
    bounds=Bounds("before", "after", start_step=_ONE_MS_BEFORE),
    # 20 in 2 seconds.
    pace=Pace(97, timedelta(seconds=10)),
    ccxt_market_types=("spot", "swap"),
    ccxt_options=MappingProxyType({"fetchOHLCV": {"timezone": "UTC", "type": "HistoryCandles"}}),
    spot_events=MappingProxyType({Kind.TRADES: _OKX_TRADES}),
    perpetual_events=MappingProxyType({Kind.TRADES: _OKX_TRADES, Kind.FUNDING_RATE: _OKX_FUNDING}),
)

EXCHANGES: Final = (BINANCE, BYBIT, COINBASE, COINBASEEXCHANGE, CRYPTOCOM, KRAKEN, OKX)
