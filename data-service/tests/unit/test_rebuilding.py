"""Bars rebuilt from trades, and where they differ from those that an exchange told."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import quick, span, utc

from cb_trade_data.historical.rebuilding import Difference, compared, rebuilt
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import OHLCV_SCHEMA, TIMESTAMP, TRADES_SCHEMA, timestamps_ms
from cb_trade_data.models.timeframe import Timeframe

MINUTE = Timeframe.parse("1m")
START_MS = to_ms(utc("2024-01-01"))
HOUR = span("2024-01-01", "2024-01-01T01:00")

Trade = tuple[float, float, float]  # seconds after the start, price, amount


def trades(*made: Trade) -> pa.Table:
    return pa.table(
        [
            pa.array([START_MS + round(second * 1000) for second, _, _ in made], pa.int64()).cast(TIMESTAMP),
            pa.array([str(number) for number in range(len(made))], pa.string()),
            pa.array(["buy"] * len(made), pa.string()),
            pa.array([price for _, price, _ in made], pa.float64()),
            pa.array([amount for _, _, amount in made], pa.float64()),
        ],
        schema=TRADES_SCHEMA,
    )


def bars(*told: tuple[float, ...]) -> pa.Table:
    """Return bars: minutes after the start, open, high, low, close, volume."""
    minutes, *numbers = zip(*told, strict=True) if told else ([],) * len(OHLCV_SCHEMA)
    times = pa.array([START_MS + round(minute * 60_000) for minute in minutes], pa.int64()).cast(TIMESTAMP)
    return pa.table([times, *(pa.array(column, pa.float64()) for column in numbers)], schema=OHLCV_SCHEMA)


def test_a_bar_opens_with_its_first_trade_and_closes_with_its_last():
    made = trades((0, 10, 1), (0, 12, 2), (59.999, 9, 0.5), (60, 11, 1), (240, 7, 3))

    assert rebuilt(made, MINUTE).equals(bars((0, 10, 12, 9, 9, 3.5), (1, 11, 11, 11, 11, 1), (4, 7, 7, 7, 7, 3)))


def test_no_trades_make_no_bars():
    assert rebuilt(trades(), MINUTE).equals(bars())


@quick(100)
@given(
    st.sampled_from(["1s", "5m", "1h", "4h", "1d", "3d", "1w", "1M", "3M"]),
    st.lists(st.integers(0, 4_000_000_000_000), min_size=1, max_size=20),
)
def test_a_trade_belongs_to_the_bar_that_holds_its_time(name, times):
    timeframe = Timeframe.parse(name)

    opens = timeframe.opens_ms(np.array(times, np.int64)).tolist()

    assert opens == [to_ms(timeframe.floor(from_ms(time))) for time in times]


@quick(100)
@given(st.lists(st.tuples(st.integers(0, 7_199), st.integers(1, 99), st.integers(1, 9)), max_size=60))
def test_bars_of_an_hour_are_those_made_of_the_bars_of_its_minutes(made):
    made_in_order = trades(*sorted(made, key=lambda each: each[0]))
    minutes = rebuilt(made_in_order, MINUTE)

    hours = rebuilt(made_in_order, Timeframe.parse("1h")).to_pylist()

    for bar in hours:
        opens = timestamps_ms(minutes)
        inside = (opens >= to_ms(bar["timestamp"])) & (opens < to_ms(bar["timestamp"]) + 3_600_000)
        of_minutes = minutes.filter(pa.array(inside)).to_pydict()
        assert bar["open"] == of_minutes["open"][0]
        assert bar["high"] == max(of_minutes["high"])
        assert bar["low"] == min(of_minutes["low"])
        assert bar["close"] == of_minutes["close"][-1]
        assert bar["volume"] == sum(of_minutes["volume"])


# --- Comparing -------------------------------------------------------------------------------------------------------

MADE = trades((0, 10, 0.1), (30, 12, 0.2), (120, 11, 1))


def test_bars_that_an_exchange_made_of_the_same_trades_do_not_differ():
    told = bars((0, 10, 12, 10, 12, 0.3), (1, 12, 12, 12, 12, 0), (2, 11, 11, 11, 11, 1))

    comparison = compared(MADE, told, MINUTE, [HOUR])

    assert comparison.compared == 3
    assert comparison.differences == ()


@pytest.mark.parametrize(
    ("told", "columns"),
    [
        ((0, 10.01, 12, 10, 12, 0.3), ("open",)),
        ((0, 10, 12.5, 9, 12, 0.3), ("high", "low")),
        ((0, 10, 12, 10, 11, 0.3), ("close",)),
        ((0, 10, 12, 10, 12, 0.3001), ("volume",)),
        ((0, 10, 12, 10, 12, 0.0), ("volume",)),
    ],
)
def test_a_value_that_differs_is_named_with_both(told, columns):
    [difference] = compared(MADE, bars(told, (2, 11, 11, 11, 11, 1)), MINUTE, [HOUR]).differences

    assert difference.open_time == utc("2024-01-01")
    assert difference.columns == columns
    assert difference.told == told[1:]
    assert difference.rebuilt is not None
    assert difference.rebuilt[:4] == (10, 12, 10, 12)
    assert math.isclose(difference.rebuilt[4], 0.3)


def test_a_bar_that_only_one_of_the_two_has_differs():
    told = bars((0, 10, 12, 10, 12, 0.3), (1, 12, 12, 12, 12, 5))

    assert compared(MADE, told, MINUTE, [HOUR]).differences == (
        Difference(utc("2024-01-01T00:01"), (), None, (12, 12, 12, 12, 5)),
        Difference(utc("2024-01-01T00:02"), (), (11, 11, 11, 11, 1), None),
    )


def test_only_bars_are_compared_of_which_all_is_known():
    known = [span("2024-01-01T00:00:01", "2024-01-01T00:02"), span("2024-01-01T00:02", "2024-01-01T00:02:59")]

    comparison = compared(MADE, bars((0, 1, 1, 1, 1, 1), (1, 12, 12, 12, 12, 0), (2, 1, 1, 1, 1, 1)), MINUTE, known)

    assert comparison.compared == 1
    assert comparison.differences == ()
