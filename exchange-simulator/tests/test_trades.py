"""Trades make minutes, and the minutes they make are the candles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from cb_trade_simulator import BadFaultError, ExchangeSimulator, UnknownSymbolError
from cb_trade_simulator.clock import MINUTE_MS, MS_NS, to_milliseconds
from cb_trade_simulator.faults import Bursting, Delisting
from cb_trade_simulator.markets.tape import Tape
from cb_trade_simulator.markets.timeframes import TIMEFRAMES
from cb_trade_simulator.markets.trades import nanoseconds, trades_of_minute

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
    start_ns, end_ns = START_MS * MS_NS, (START_MS + 500 * MINUTE_MS) * MS_NS

    forwards = tape.oldest(10_000, start_ns, end_ns)

    assert len(forwards) > 100
    assert np.array_equal(forwards, tape.newest(len(forwards), end_ns))
    assert np.array_equal(forwards, tape.newest(10_000, end_ns, start_ns))
    assert np.array_equal(forwards, tape.between(start_ns, end_ns))
    assert (np.diff(forwards["id"]) > 0).all()
    assert (np.diff(forwards["timestamp"]) >= 0).all()


def test_the_tape_can_be_cut_at_any_nanosecond_and_at_any_id(histories):
    tape = Tape(histories["BTC/USDT"])
    start_ns, end_ns = START_MS * MS_NS, (START_MS + MINUTE_MS) * MS_NS
    trades = tape.between(start_ns, end_ns)
    at_ns = nanoseconds(trades).tolist()

    for number in range(0, len(trades), 7):
        first, trade_id = at_ns[number], int(trades["id"][number])
        assert np.array_equal(tape.between(first, end_ns), trades[number:])
        assert np.array_equal(tape.between(start_ns, first), trades[:number])
        assert np.array_equal(tape.oldest(5, start_ns, end_ns, first_id=trade_id), trades[number : number + 5])
        assert np.array_equal(tape.newest(5, end_ns, start_ns, end_id=trade_id), trades[max(number - 5, 0) : number])
        assert len(tape.newest(9999, end_ns, start_ns, first_id=trade_id)) == len(trades) - number
    assert len(tape.oldest(5, start_ns, end_ns, first_id=10**20)) == 0
    assert len(tape.oldest(0, start_ns, end_ns)) == len(tape.newest(0, end_ns)) == 0
    assert np.array_equal(tape.newest(3, end_ns, end_id=10**20), trades[-3:])


def test_several_trades_happen_in_one_millisecond_but_never_in_one_nanosecond(histories):
    trades = Tape(histories["BTC/USDT"]).between(START_MS * MS_NS, (START_MS + 30 * MINUTE_MS) * MS_NS)

    _, in_each = np.unique(trades["timestamp"], return_counts=True)
    assert in_each.max() > 4
    assert (in_each > 1).sum() > 100
    at_ns = nanoseconds(trades)
    assert (np.diff(at_ns) > 0).all()
    assert np.array_equal(at_ns // MS_NS, trades["timestamp"])
    as_kraken_is_read = [int(float(f"{at // 10**9}.{at % 10**9:09d}") * 1000) for at in at_ns.tolist()]
    assert as_kraken_is_read == trades["timestamp"].tolist()
    is_first_of_minute = np.diff(at_ns // (MINUTE_MS * MS_NS), prepend=0) > 0
    assert (at_ns[is_first_of_minute] % MS_NS == 0).all()


def test_the_tape_starts_at_the_listing(histories):
    history = histories["SOL/USDT"]
    listed_ns = history.listed_ms * MS_NS

    first = Tape(history).oldest(1, 0, listed_ns + MINUTE_MS * MS_NS)

    assert history.listed_ms <= first["timestamp"][0] < history.listed_ms + MINUTE_MS
    assert len(Tape(history).newest(10, listed_ns)) == 0


@pytest.mark.parametrize("symbol", ["BTC/USDT", "ADA/BTC"])
def test_a_burst_is_more_than_a_page_of_trades_in_one_millisecond(symbol, clock):
    at = datetime(2023, 6, 1, 0, 1, 2, 345_000, tzinfo=UTC)
    simulator = ExchangeSimulator(clock=clock)
    around = (at.replace(second=0, microsecond=0) - timedelta(minutes=1), at.replace(second=0) + timedelta(minutes=2))
    before = simulator.trades(symbol, *around)

    simulator.inject(Bursting(symbol, at, 2500))

    trades = simulator.trades(symbol, *around)
    burst = trades[trades["timestamp"] == to_milliseconds(at)]
    assert len(burst) == 2500
    assert len(trades) > 2500 or symbol == "ADA/BTC"
    assert (np.diff(trades["id"]) > 0).all()
    minute = simulator._histories[symbol].minutes(
        to_milliseconds(at) // MINUTE_MS * MINUTE_MS, to_milliseconds(at), to_milliseconds(clock.now())
    )
    assert minute["trades"][0] == 2500
    (candle,) = simulator.candles(symbol, "1m", around[0] + timedelta(minutes=1), at)
    assert candle["volume"] == pytest.approx(burst["amount"].sum())
    assert (burst["price"][0], burst["price"][-1]) == (candle["open"], candle["close"])
    assert [row for row in trades.tolist() if row[1] < START_MS + MINUTE_MS] == [
        row for row in before.tolist() if row[1] < START_MS + MINUTE_MS
    ]
    for impossible in (0, 10_000):
        with pytest.raises(BadFaultError):
            simulator.inject(f"burst={symbol},2023-06-01T00:01:02,{impossible}")


def test_the_truth_of_trades_adds_up_to_the_candles_and_ends_at_the_clock(clock):
    simulator = ExchangeSimulator(clock=clock)
    start, end = datetime(2023, 6, 1, tzinfo=UTC), datetime(2023, 6, 1, 1, tzinfo=UTC)

    trades = simulator.trades("SOL/USDT", start, end)

    (hour,) = simulator.candles("SOL/USDT", "1h", start, end)
    assert trades["amount"].sum() == pytest.approx(hour["volume"])
    assert (trades["price"].max(), trades["price"].min()) == (hour["high"], hour["low"])
    assert (trades["price"][0], trades["price"][-1]) == (hour["open"], hour["close"])
    last = simulator.trades("BTC/USDT", clock.now() - timedelta(minutes=5), clock.now() + timedelta(days=1))
    assert last["timestamp"][-1] <= to_milliseconds(clock.now())
    assert len(last) > 100
    with pytest.raises(UnknownSymbolError):
        simulator.trades("NO/PE", start, end)


def test_a_delisted_market_has_no_trades_and_an_outage_neither(clock):
    simulator = ExchangeSimulator(clock=clock)
    outage = simulator._server._venue.outages[-1]
    end = datetime(2023, 6, 1, 12, tzinfo=UTC)
    simulator.inject(Delisting("SOL/USDT", end))

    assert len(simulator.trades("BTC/USDT", outage.start, outage.end)) == 0
    assert len(simulator.trades("SOL/USDT", end, end + timedelta(days=1))) == 0
    assert len(simulator.trades("SOL/USDT", end - timedelta(minutes=2), end)) > 0
