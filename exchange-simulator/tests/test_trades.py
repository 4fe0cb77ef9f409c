"""Trades make minutes, and the minutes they make are the candles."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from cb_trade_simulator.clock import MINUTE_MS, to_milliseconds
from cb_trade_simulator.markets.tape import Tape
from cb_trade_simulator.markets.timeframes import TIMEFRAMES
from cb_trade_simulator.markets.trades import trades_of_minute

START_MS = to_milliseconds(datetime(2023, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize("symbol", ["BTC/USDT", "ADA/BTC", "PEPE/USDT"])
def test_the_trades_of_a_minute_add_up_to_its_candle(symbol, histories, now_ms):
    history = histories[symbol]
    for minute in history.candles(TIMEFRAMES["1m"], START_MS, START_MS + 300 * MINUTE_MS, now_ms):
        trades = trades_of_minute(history.market, history.seed, minute)

        assert len(trades) == minute["trades"]
        assert trades["amount"].sum() == minute["volume"]
        assert (trades["amount"] > 0).all()
        if len(trades):
            prices = trades["price"]
            candle = (prices[0], prices.max(), prices.min(), prices[-1])
            assert candle == (minute["open"], minute["high"], minute["low"], minute["close"])
            assert (trades["timestamp"] // MINUTE_MS * MINUTE_MS == minute["timestamp"]).all()


def test_the_tape_read_from_either_end_is_the_same(histories):
    tape = Tape(histories["ADA/BTC"])

    forwards = tape.oldest(10_000, START_MS, START_MS + 500 * MINUTE_MS)
    backwards = tape.newest(len(forwards), START_MS + 500 * MINUTE_MS)

    assert len(forwards) > 100
    assert np.array_equal(forwards, backwards)
    assert (np.diff(forwards["id"]) > 0).all()
    assert (np.diff(forwards["timestamp"]) >= 0).all()


def test_the_tape_starts_at_the_listing(histories):
    history = histories["SOL/USDT"]

    first = Tape(history).oldest(1, 0, history.listed_ms + MINUTE_MS)

    assert history.listed_ms <= first["timestamp"][0] < history.listed_ms + MINUTE_MS
    assert len(Tape(history).newest(10, history.listed_ms)) == 0
