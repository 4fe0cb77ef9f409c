"""Bars rebuilt from trades, and where they differ from those that an exchange told."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import quick, span, utc

from cb_trade_data.historical.rebuilding import Comparison, Difference, compared, folded, rebuilt, whole_bars
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import OHLCV_SCHEMA, TIMESTAMP, TRADES_SCHEMA, timestamps_ms
from cb_trade_data.models.time_range import TimeRange
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


TRADES_OF_SOME_HOURS = st.lists(
    st.tuples(st.integers(0, 4 * 3_600 - 1), st.integers(1, 99), st.integers(1, 9)), max_size=60
)


@quick(200)
@given(TRADES_OF_SOME_HOURS, st.sampled_from(["1m", "5m", "15m", "30m"]), st.sampled_from(["30m", "1h", "2h", "1d"]))
def test_bars_folded_of_shorter_ones_are_those_made_of_the_trades(made, shorter, longer):
    made_in_order = trades(*sorted(made, key=lambda each: each[0]))

    of_bars = folded(rebuilt(made_in_order, Timeframe.parse(shorter)), Timeframe.parse(longer))

    assert of_bars.equals(rebuilt(made_in_order, Timeframe.parse(longer)))


@quick(200)
@given(
    TRADES_OF_SOME_HOURS, st.lists(st.integers(0, 4 * 3_600), max_size=4), st.sampled_from(["1m", "90m", "1w", "1M"])
)
def test_bars_of_parts_of_the_trades_fold_to_those_of_all_wherever_they_are_cut(made, cuts, name):
    made_in_order, timeframe = trades(*sorted(made, key=lambda each: each[0])), Timeframe.parse(name)
    edges = np.searchsorted(timestamps_ms(made_in_order), [START_MS + cut * 1000 for cut in sorted(cuts)]).tolist()
    parts = [made_in_order.slice(first, end - first) for first, end in pairwise([0, *edges, made_in_order.num_rows])]

    of_parts = folded(pa.concat_tables([rebuilt(part, timeframe) for part in parts]), timeframe)

    assert of_parts.equals(rebuilt(made_in_order, timeframe))


@pytest.mark.parametrize(
    ("name", "opens"),
    [
        ("1w", ["2023-12-25", "2024-01-01", "2024-01-29", "2024-02-26"]),
        ("1M", ["2023-12-01", "2024-01-01", "2024-02-01", "2024-03-01"]),
        ("3M", ["2023-10-01", "2024-01-01"]),
    ],
)
def test_days_fold_to_weeks_that_begin_on_mondays_and_to_the_months_of_the_calendar(name, opens):
    days = [utc(day) for day in ("2023-12-31", "2024-01-01", "2024-02-01", "2024-02-29", "2024-03-01")]
    told = bars(*(((to_ms(day) - START_MS) / 60_000, 1, 9, 0.5, 2, 1) for day in days))

    made = folded(told, Timeframe.parse(name))

    assert made.column("timestamp").to_pylist() == [utc(day) for day in opens]
    assert sum(made.column("volume").to_pylist()) == len(days)


# --- Comparing -------------------------------------------------------------------------------------------------------

MADE = trades((0, 10, 0.1), (30, 12, 0.2), (120, 11, 1))


def compared_with_made(told: pa.Table, known: Iterable[TimeRange] = (HOUR,), differences_max: int = 10) -> Comparison:
    return compared(rebuilt(MADE, MINUTE), told, whole_bars(known, MINUTE), differences_max=differences_max)


def test_bars_that_an_exchange_made_of_the_same_trades_do_not_differ():
    told = bars((0, 10, 12, 10, 12, 0.3), (1, 12, 12, 12, 12, 0), (2, 11, 11, 11, 11, 1))

    comparison = compared_with_made(told)

    assert comparison.bars == 3
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
    [difference] = compared_with_made(bars(told, (2, 11, 11, 11, 11, 1))).differences

    assert difference.open_time == utc("2024-01-01")
    assert difference.columns == columns
    assert difference.told == told[1:]
    assert difference.rebuilt is not None
    assert difference.rebuilt[:4] == (10, 12, 10, 12)
    assert math.isclose(difference.rebuilt[4], 0.3)


def test_a_bar_that_only_one_of_the_two_has_differs():
    told = bars((0, 10, 12, 10, 12, 0.3), (1, 12, 12, 12, 12, 5))

    assert compared_with_made(told).differences == (
        Difference(utc("2024-01-01T00:01"), (), None, (12, 12, 12, 12, 5)),
        Difference(utc("2024-01-01T00:02"), (), (11, 11, 11, 11, 1), None),
    )


def test_only_bars_are_compared_of_which_all_is_known():
    known = [span("2024-01-01T00:00:01", "2024-01-01T00:02"), span("2024-01-01T00:02", "2024-01-01T00:02:59")]

    comparison = compared_with_made(bars((0, 1, 1, 1, 1, 1), (1, 12, 12, 12, 12, 0), (2, 1, 1, 1, 1, 1)), known)

    assert comparison.bars == 1
    assert comparison.differences == ()


def test_all_differences_are_counted_and_the_first_are_told():
    told = bars((0, 1, 1, 1, 1, 1), (1, 1, 1, 1, 1, 1), (2, 1, 1, 1, 1, 1))

    comparison = compared_with_made(told, differences_max=2)

    assert (comparison.bars, comparison.differing) == (3, 3)
    assert [each.open_time for each in comparison.differences] == [utc("2024-01-01"), utc("2024-01-01T00:01")]


def test_nothing_can_be_compared_where_nothing_is_known():
    assert compared_with_made(bars(), known=()) == Comparison(0, 0, ())
