"""Candles, trades and book levels as Binance writes them: decimals as text, always with eight places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.json_rows import Decimals, json_rows

if TYPE_CHECKING:
    from cb_trade_simulator.json_rows import Part
    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.timeframes import Instants, Timeframe


def kline_rows(rows: Rows, timeframe: Timeframe, market: Market) -> bytes:
    """Return `[[openTime,"open","high","low","close","volume",closeTime,"quoteVolume",trades,…,"0"], …]`."""
    return json_rows(
        [
            "[",
            Decimals(rows["timestamp"]),
            ',"',
            _price(rows["open"], market),
            '","',
            _price(rows["high"], market),
            '","',
            _price(rows["low"], market),
            '","',
            _price(rows["close"], market),
            '","',
            _amount(rows["volume"], market),
            '",',
            Decimals(timeframe.shift(rows["timestamp"], 1) - 1),
            ',"',
            _worth(rows["quote_volume"], market),
            '",',
            Decimals(rows["trades"]),
            ',"',
            _amount(rows["taker_buy_volume"], market),
            '","',
            _worth(rows["taker_buy_quote_volume"], market),
            '","0"]',
        ]
    )


def trade_rows(trades: Rows, market: Market) -> bytes:
    """Return `[{"id":…,"price":"…","qty":"…","quoteQty":"…","time":…,"isBuyerMaker":…,"isBestMatch":true}, …]`."""
    return json_rows(
        [
            '{"id":',
            Decimals(trades["id"]),
            ',"price":"',
            _price(trades["price"], market),
            '","qty":"',
            _amount(trades["amount"], market),
            '","quoteQty":"',
            _worth(trades["price"] * trades["amount"], market),
            '","time":',
            Decimals(trades["timestamp"]),
            ',"isBuyerMaker":',
            np.where(trades["buyer_is_maker"], b"true", b"false"),
            ',"isBestMatch":true}',
        ]
    )


def aggregate_trade_rows(trades: Rows, market: Market) -> bytes:
    """Return `[{"a":id,"p":"price","q":"amount","f":firstId,"l":lastId,"T":time,"m":buyerIsMaker,"M":true}, …]`.

    Each is an aggregate of one.
    """
    return json_rows([*_aggregate(trades, market), ',"M":true}'])


def futures_aggregate_trade_rows(trades: Rows, market: Market) -> bytes:
    """Return the same without `M`, by which CCXT tells spot from futures."""
    return json_rows([*_aggregate(trades, market), "}"])


def level_rows(prices: Instants, amounts: Instants, market: Market) -> bytes:
    """Return `[["price","amount"], …]`."""
    return json_rows(['["', _price(prices, market), '","', _amount(amounts, market), '"]'])


def _price(ticks: Instants, market: Market) -> Decimals:
    return Decimals(ticks, market.price_decimals, places=8)


def _amount(steps: Instants, market: Market) -> Decimals:
    return Decimals(steps, market.amount_decimals, places=8)


def _worth(ticks_times_steps: Instants, market: Market) -> Decimals:
    return Decimals(ticks_times_steps, market.price_decimals + market.amount_decimals, places=8)


def _aggregate(trades: Rows, market: Market) -> list[Part]:
    """Return what all aggregate trades have in common, without the closing brace."""
    return [
        '{"a":',
        Decimals(trades["id"]),
        ',"p":"',
        _price(trades["price"], market),
        '","q":"',
        _amount(trades["amount"], market),
        '","f":',
        Decimals(trades["id"]),
        ',"l":',
        Decimals(trades["id"]),
        ',"T":',
        Decimals(trades["timestamp"]),
        ',"m":',
        np.where(trades["buyer_is_maker"], b"true", b"false"),
    ]
