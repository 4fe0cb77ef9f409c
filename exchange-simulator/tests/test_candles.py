"""What every candle of every market promises, whoever asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cb_trade_simulator.clock import DAY_MS, MINUTE_MS, from_milliseconds, to_milliseconds
from cb_trade_simulator.markets.catalogue import MARKETS
from cb_trade_simulator.markets.history import History
from cb_trade_simulator.markets.market import Market
from cb_trade_simulator.markets.timeframes import TIMEFRAMES
from cb_trade_simulator.venues.binance import Binance

SYMBOLS = [market.symbol for market in MARKETS]
SUMMED = ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")


def at(*moment: int) -> int:
    return to_milliseconds(datetime(*moment, tzinfo=UTC))


def minutes(history: History, start_ms: int, end_ms: int, now_ms: int) -> np.ndarray:
    return history.candles(TIMEFRAMES["1m"], start_ms, end_ms, now_ms)


def calendar_span(timeframe: str, open_ms: int) -> tuple[int, int]:
    """Return where a candle starts and ends, from calendar fields alone, having checked that it may open there."""
    opened = from_milliseconds(int(open_ms))
    count, unit = int(timeframe[:-1]), timeframe[-1]
    if unit == "m":
        assert opened.minute % count == opened.second == 0
        return int(open_ms), int(open_ms) + count * MINUTE_MS
    assert opened.minute == 0
    if unit == "h":
        assert opened.hour % count == 0
        return int(open_ms), int(open_ms) + count * 60 * MINUTE_MS
    assert opened.hour == 0
    if unit == "d":
        assert (opened - datetime(1970, 1, 1, tzinfo=UTC)).days % count == 0
        return int(open_ms), int(open_ms) + count * DAY_MS
    if unit == "w":
        assert opened.strftime("%A") == "Monday"
        return int(open_ms), int(open_ms) + 7 * DAY_MS
    assert opened.day == 1
    return int(open_ms), to_milliseconds((opened + timedelta(days=31)).replace(day=1))


@pytest.mark.parametrize("symbol", SYMBOLS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_minute_is_a_possible_candle(symbol, data, histories, now_ms):
    history = histories[symbol]
    day = data.draw(st.integers(history.listed_ms // DAY_MS, now_ms // DAY_MS - 1))

    rows = minutes(history, day * DAY_MS, (day + 1) * DAY_MS, now_ms)

    body_top, body_bottom = np.maximum(rows["open"], rows["close"]), np.minimum(rows["open"], rows["close"])
    assert (rows["low"] > 0).all()
    assert (rows["low"] <= body_bottom).all()
    assert (rows["high"] >= body_top).all()
    assert (np.diff(rows["timestamp"]) > 0).all()
    assert (rows["timestamp"] % MINUTE_MS == 0).all()
    assert (rows["volume"] >= rows["trades"]).all()
    assert (rows["taker_buy_volume"] <= rows["volume"]).all()
    assert (rows["low"] * rows["volume"] <= rows["quote_volume"]).all()
    assert (rows["quote_volume"] <= rows["high"] * rows["volume"]).all()


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_minute_without_trades_is_flat_at_the_close_before_it(symbol, histories, now_ms):
    rows = minutes(histories[symbol], at(2023, 6, 1), at(2023, 6, 15), now_ms)
    assert len(rows) == 14 * 1440

    quiet = np.flatnonzero(rows["trades"][1:] == 0) + 1

    for price in ("open", "high", "low", "close"):
        assert (rows[price][quiet] == rows["close"][quiet - 1]).all()
    assert not rows["volume"][quiet].any()


def test_a_quiet_pair_has_many_minutes_without_trades_and_a_busy_one_has_none(histories, now_ms):
    quiet = minutes(histories["ADA/BTC"], at(2023, 6, 1), at(2023, 6, 2), now_ms)
    busy = minutes(histories["BTC/USDT"], at(2023, 6, 1), at(2023, 6, 2), now_ms)

    assert 0.05 < np.mean(quiet["trades"] == 0) < 0.95
    assert busy["trades"].min() > 0


@pytest.mark.parametrize("timeframe", [name for name in TIMEFRAMES if name != "1m"])
def test_a_longer_candle_is_the_exact_sum_of_its_minutes(timeframe, histories, now_ms):
    """From a listing in mid-month on, through an outage that leaves some candles a part and others nothing."""
    history = histories["BTC/USDT"]
    spans = [(at(2017, 8, 16), at(2017, 8, 20)), (at(2018, 2, 7), at(2018, 2, 10))]
    if timeframe in ("1d", "3d", "1w", "1M"):
        spans = [(0, at(2018, 4, 1))]
    for start_ms, end_ms in spans:
        candles = history.candles(TIMEFRAMES[timeframe], start_ms, end_ms, now_ms)
        inside = [minutes(history, *calendar_span(timeframe, row["timestamp"]), now_ms) for row in candles]

        for row, parts in zip(candles, inside, strict=True):
            assert row["open"] == parts["open"][0]
            assert row["high"] == parts["high"].max()
            assert row["low"] == parts["low"].min()
            assert row["close"] == parts["close"][-1]
            assert all(row[name] == parts[name].sum() for name in SUMMED)
        stop_ms = calendar_span(timeframe, candles["timestamp"][-1])[1]
        every = minutes(history, int(candles["timestamp"][0]), stop_ms, now_ms)
        assert np.concatenate(inside)["timestamp"].tolist() == every["timestamp"].tolist()


@pytest.mark.parametrize("timeframe", ["3m", "1h", "2h", "1d"])
def test_quiet_minutes_have_no_part_in_a_longer_candle_unless_there_are_no_others(timeframe, histories, now_ms):
    """It opens with its first trade: what a quiet minute repeats is the close of the candle before."""
    history = histories["ADA/BTC"]
    candles = history.candles(TIMEFRAMES[timeframe], at(2024, 3, 4), at(2024, 3, 6), now_ms)

    for candle in candles:
        parts = minutes(history, *calendar_span(timeframe, candle["timestamp"]), now_ms)
        traded = parts[parts["trades"] > 0]
        parts = traded if len(traded) else parts
        assert candle["open"] == parts["open"][0]
        assert (candle["high"], candle["low"]) == (parts["high"].max(), parts["low"].min())
        assert candle["close"] == parts["close"][-1]
        assert all(candle[name] == parts[name].sum() for name in SUMMED)


def test_a_day_looks_the_same_whatever_was_asked_before(histories, now_ms):
    market = MARKETS[0]
    forwards, backwards = History(market, Binance.outages, seed=1), History(market, Binance.outages, seed=1)
    spans = [(at(2020, 1, day), at(2020, 1, day + 1)) for day in range(1, 10)]

    first = [minutes(forwards, *span, now_ms) for span in spans]
    backwards.candles(TIMEFRAMES["1M"], at(2019, 1, 1), at(2021, 1, 1), now_ms)
    second = [minutes(backwards, *span, now_ms) for span in reversed(spans)]

    assert np.array_equal(np.concatenate(first), np.concatenate(second[::-1]))


def test_another_seed_is_another_past(now_ms):
    one, two = (History(MARKETS[0], (), seed) for seed in (1, 2))

    span = (at(2020, 1, 1), at(2020, 1, 2))

    assert (minutes(one, *span, now_ms)["close"] != minutes(two, *span, now_ms)["close"]).mean() > 0.99


def test_the_past_does_not_depend_on_now(histories):
    history = histories["ETH/USDT"]
    span = (at(2020, 1, 1), at(2020, 1, 3))

    assert np.array_equal(minutes(history, *span, at(2020, 1, 3)), minutes(history, *span, at(2030, 1, 1)))


def test_no_candle_exists_before_the_listing(histories, now_ms):
    rows = minutes(histories["SOL/USDT"], 0, at(2020, 8, 12), now_ms)

    assert rows["timestamp"][0] == at(2020, 8, 11, 6)
    assert len(rows) == 18 * 60
    assert rows["trades"][0] > 0


@pytest.mark.parametrize("symbol", ["BTC/USDT", "ADA/BTC"])
def test_an_outage_leaves_no_minute_and_the_first_one_after_it_trades(symbol, histories, now_ms):
    rows = minutes(histories[symbol], at(2020, 6, 28), at(2020, 6, 29), now_ms)

    missing = set(range(at(2020, 6, 28), at(2020, 6, 29), MINUTE_MS)) - set(rows["timestamp"].tolist())

    assert missing == set(range(at(2020, 6, 28, 2), at(2020, 6, 28, 5), MINUTE_MS))
    assert rows["trades"][rows["timestamp"] == at(2020, 6, 28, 5)] > 0


def test_a_longer_candle_wholly_inside_an_outage_does_not_exist(histories, now_ms):
    history = histories["BTC/USDT"]

    hours = history.candles(TIMEFRAMES["1h"], at(2020, 6, 28), at(2020, 6, 28, 8), now_ms)
    four_hours = history.candles(TIMEFRAMES["4h"], at(2020, 6, 28), at(2020, 6, 28, 8), now_ms)

    assert [from_milliseconds(opened).hour for opened in hours["timestamp"].tolist()] == [0, 1, 5, 6, 7]
    assert [from_milliseconds(opened).hour for opened in four_hours["timestamp"].tolist()] == [0, 4]


def test_prices_stay_in_a_plausible_band(histories, now_ms):
    daily = histories["BTC/USDT"].candles(TIMEFRAMES["1d"], 0, now_ms, now_ms)

    assert 4_000 < daily["open"][0] / 100 < 5_000
    assert daily["low"].min() / 100 > 1_500
    assert daily["high"].max() / 100 < 250_000


def test_wild_days_come_in_clusters_and_bring_volume(histories, now_ms):
    daily = histories["BTC/USDT"].candles(TIMEFRAMES["1d"], at(2019, 1, 1), at(2024, 1, 1), now_ms)
    spread = np.log(daily["high"] / daily["low"])

    assert np.corrcoef(spread[1:], spread[:-1])[0, 1] > 0.3
    assert np.corrcoef(spread, daily["quote_volume"])[0, 1] > 0.3


def test_nothing_jumps_at_midnight(histories, now_ms):
    rows = minutes(histories["BTC/USDT"], at(2023, 1, 1), at(2023, 4, 1), now_ms)
    steps = np.abs(np.log(rows["open"][1:] / rows["close"][:-1]))
    midnight = rows["timestamp"][1:] % DAY_MS == 0

    assert steps[midnight].mean() < 2 * steps[~midnight].mean()


@pytest.mark.parametrize(
    "nonsense",
    [
        {"listed": datetime(2020, 1, 1)},  # noqa: DTZ001 - that is the point
        {"listed": datetime(2020, 1, 1, 0, 0, 30, tzinfo=UTC)},
        {"price_decimals": 5, "amount_decimals": 4},
        {"levels": ()},
    ],
)
def test_a_market_that_makes_no_sense_is_refused(nonsense):
    sound = {name: getattr(MARKETS[0], name) for name in Market.__slots__}

    with pytest.raises(ValueError, match="BTC/USDT"):
        Market(**sound | nonsense)
