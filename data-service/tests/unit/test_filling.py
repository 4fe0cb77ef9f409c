"""Rows that stand where there are none: as many as there are holes, marked, and none of the real ones touched."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, bars, epoch_ms, minute, minute_bars, minutes, quick, span, utc

from cb_trade_data.historical.views import filling as filling_module
from cb_trade_data.historical.views.filling import Filling
from cb_trade_data.models.market import FILLED_SCHEMA, NULL_FILLED_SCHEMA, OHLCV_SCHEMA, slice_range
from cb_trade_data.models.messages import Fill
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State

KNOWN = frozenset({State.HELD, State.EMPTY})
MINUTE = Timeframe.parse("1m")
NO_ROWS = OHLCV_SCHEMA.empty_table()
fills = pytest.mark.parametrize("fill", [Fill.PREVIOUS_CLOSE, Fill.NULL])


def is_known(segment: Segment) -> bool:
    return segment.state in KNOWN


def filled(
    rows: pa.Table,
    segments: list[Segment],
    fill: Fill,
    *,
    cuts: list[int] | None = None,
    start: datetime | None = None,
    close: float | None = None,
) -> tuple[pa.Table, Filling]:
    """Return what comes of rows and what is known of their time, which come in pieces cut at these minutes."""
    start = segments[0].range.start if start is None else start
    filling = Filling(MINUTE, fill, is_known, start)
    filling.close = close
    end = segments[-1].range.end
    edges = sorted({start, end, *(minute(cut) for cut in cuts or () if start < minute(cut) < end)})
    made = [(FILLED_SCHEMA if fill is Fill.PREVIOUS_CLOSE else NULL_FILLED_SCHEMA).empty_table()]
    for first, stop in pairwise(edges):
        part = TimeRange(first, stop)
        shared = ((each, each.range.intersect(part)) for each in segments)
        filling.see([Segment(range_, each.state) for each, range_ in shared if range_ is not None], [])
        made += filling.add(slice_range(rows, part))
    return pa.concat_tables(made).combine_chunks(), filling


def real(rows: pa.Table) -> pa.Table:
    only = rows.filter(pa.compute.invert(rows["synthetic"])).drop(["synthetic"])
    return only.cast(OHLCV_SCHEMA)


@pytest.fixture
def held() -> list[Segment]:
    return [Segment(minutes(0, 6), State.HELD)]


def test_a_hole_takes_the_close_before_it_and_no_volume(held):
    rows = minute_bars([0, 3])
    close = rows["close"][0].as_py()

    made, filling = filled(rows, held, Fill.PREVIOUS_CLOSE)

    assert made["synthetic"].to_pylist() == [False, True, True, False, True, True]
    assert (
        made.slice(1, 2).drop(["timestamp", "synthetic"]).to_pylist()
        == [{"open": close, "high": close, "low": close, "close": close, "volume": 0.0}] * 2
    )
    assert made["timestamp"].to_pylist() == [minute(number) for number in range(6)]
    assert filling.synthetic_rows == 4


def test_a_hole_may_have_no_values_at_all(held):
    made, filling = filled(minute_bars([0, 3]), held, Fill.NULL)

    assert made.slice(1, 1).drop(["timestamp", "synthetic"]).to_pylist() == [
        {"open": None, "high": None, "low": None, "close": None, "volume": None}
    ]
    assert made["close"].null_count == filling.synthetic_rows == 4


def test_before_its_first_row_a_range_is_filled_with_the_close_before_it_where_that_is_known(held):
    rows = minute_bars([2, 3])

    without, _ = filled(rows, held, Fill.PREVIOUS_CLOSE)
    with_close, _ = filled(rows, held, Fill.PREVIOUS_CLOSE, close=17.5)

    assert without["timestamp"][0].as_py() == minute(2)
    assert with_close["close"].to_pylist()[:2] == [17.5, 17.5]
    assert with_close["timestamp"][0].as_py() == minute(0)


def test_without_any_row_or_close_there_is_nothing_to_fill_with(held):
    made, filling = filled(minute_bars([]), held, Fill.PREVIOUS_CLOSE)

    assert (made.num_rows, filling.synthetic_rows) == (0, 0)


@fills
@pytest.mark.parametrize("state", [State.UNLISTED, State.DELISTED, State.FAILED, State.UNAVAILABLE, State.UNKNOWN])
def test_where_there_was_no_market_or_nobody_knows_nothing_is_put_in(fill, state):
    segments = [
        Segment(minutes(0, 2), State.HELD),
        Segment(minutes(2, 4), state),
        Segment(minutes(4, 6), State.HELD),
    ]

    made, _ = filled(minute_bars([0, 1, 4]), segments, fill)

    assert made["timestamp"].to_pylist() == [minute(number) for number in (0, 1, 4, 5)]


def test_what_happened_meanwhile_is_not_known_after_a_failure_so_its_close_is_not_used():
    segments = [
        Segment(minutes(0, 2), State.HELD),
        Segment(minutes(2, 4), State.FAILED),
        Segment(minutes(4, 8), State.HELD),
    ]

    made, _ = filled(minute_bars([0, 6]), segments, Fill.PREVIOUS_CLOSE)

    assert made["timestamp"].to_pylist() == [minute(number) for number in (0, 1, 6, 7)]


def test_a_time_that_was_asked_about_and_has_nothing_takes_the_close_before_it():
    segments = [Segment(minutes(0, 2), State.HELD), Segment(minutes(2, 4), State.EMPTY)]

    made, _ = filled(minute_bars([0]), segments, Fill.PREVIOUS_CLOSE)

    assert made["synthetic"].to_pylist() == [False, True, True, True]


states = st.sampled_from([*State])
known_parts = st.lists(st.tuples(states, st.integers(1, 12)), min_size=1, max_size=8)


@quick(200)
@given(known_parts, st.sets(st.integers(0, 80)), st.lists(st.integers(0, 80), max_size=5), st.sampled_from(Fill))
def test_marked_rows_are_the_holes_and_the_others_are_untouched(parts, places, cuts, fill):
    """Held against every minute by itself, wherever the pieces are cut."""
    if fill is Fill.NONE:
        return
    cursor, segments, state_of = 0, [], {}
    for state, length in parts:
        segments.append(Segment(minutes(cursor, cursor + length), state))
        state_of |= dict.fromkeys(range(cursor, cursor + length), state)
        cursor += length
    rows = minute_bars([place for place in sorted(places) if state_of.get(place) is State.HELD])

    made, filling = filled(rows, segments, fill, cuts=cuts)

    there = {minute(place) for place in places if state_of.get(place) is State.HELD}
    holes, has_close = [], False
    for place, state in sorted(state_of.items()):
        has_close = minute(place) in there or (has_close and state in KNOWN)
        if state in KNOWN and minute(place) not in there and (has_close or fill is Fill.NULL):
            holes.append(minute(place))
    marked = made.filter(made["synthetic"])
    assert marked["timestamp"].to_pylist() == holes
    assert filling.synthetic_rows == len(holes)
    assert_same_rows(real(made), rows)
    times = made["timestamp"].to_pylist()
    assert times == sorted(times)


@fills
def test_years_of_nothing_are_made_a_bounded_number_of_rows_at_a_time(fill):
    nothing = span("2020-01-01", "2024-01-01")
    filling = Filling(MINUTE, fill, is_known, nothing.start)
    filling.close = 1.0
    filling.see([Segment(nothing, State.HELD)], [])

    sizes = [rows.num_rows for rows in filling.add(NO_ROWS)]

    assert sum(sizes) == (366 + 3 * 365) * 1440
    assert max(sizes) == filling_module._ROWS_AT_ONCE


@fills
def test_silence_is_filled_as_soon_as_it_is_known(fill):
    filling = Filling(MINUTE, fill, is_known, minute(0))
    filling.close = 1.0
    told = [
        Segment(minutes(0, 3), State.EMPTY),
        Segment(minutes(3, 5), State.FAILED),
        Segment(minutes(5, 6), State.HELD),
    ]
    made = []
    for segment in told:
        filling.see([segment], [])
        made.append(sum(rows.num_rows for rows in filling.add(NO_ROWS)))

    assert made == ([3, 0, 0] if fill is Fill.PREVIOUS_CLOSE else [3, 0, 1])


@fills
def test_what_is_known_by_turns_comes_in_few_tables(fill):
    """Each goes out as a message of its own."""
    segments = [
        Segment(minutes(place, place + 1), State.FAILED if place % 3 == 2 else State.HELD) for place in range(60)
    ]
    filling = Filling(MINUTE, fill, is_known, minute(0))
    filling.see(segments, [])

    (made,) = filling.add(minute_bars(list(range(0, 60, 3))))

    assert made.num_rows == 40
    assert made["synthetic"].to_pylist() == [False, True] * 20
    assert made["synthetic"].num_chunks == 1


@fills
@pytest.mark.parametrize(
    ("timeframe", "first", "real_bar", "expected"),
    [
        ("1M", "2023-11-01", "2023-12-01", ["2023-12-01", "2024-01-01", "2024-02-01"]),
        ("1w", "2023-12-18", "2023-12-25", ["2023-12-25", "2024-01-01", "2024-01-08"]),
    ],
)
def test_weeks_and_months_are_filled_by_the_calendar(fill, timeframe, first, real_bar, expected):
    grid = Timeframe.parse(timeframe)
    filling = Filling(grid, fill, is_known, utc(first))
    filling.see([Segment(TimeRange(utc(first), grid.advance(utc(expected[-1]), 1)), State.HELD)], [])

    made = pa.concat_tables(filling.add(bars([utc(real_bar)])))

    times = [f"{row['timestamp']:%Y-%m-%d}" for row in made.to_pylist()]
    assert times == (expected if fill is Fill.PREVIOUS_CLOSE else [first, *expected])


@fills
def test_twelve_months_are_filled_to_the_end_of_the_calendar(fill):
    grid = Timeframe.parse("12M")
    filling = Filling(grid, fill, is_known, utc("2000-01-01"))
    filling.close = 1.0
    filling.see([Segment(span("2000-01-01", "2199-01-01"), State.HELD)], [])

    assert sum(rows.num_rows for rows in filling.add(NO_ROWS)) == 199


def test_opens_are_told_as_the_grid_has_them():
    for name in ("1m", "4h", "1w", "1M", "3M", "12M"):
        grid = Timeframe.parse(name)
        wanted = TimeRange(
            utc("2019-11-07T03:00"), utc("2019-11-07T03:00") + 1500 * min(grid.duration, timedelta(days=9))
        )
        opens, open_time = [], grid.ceil(wanted.start)
        while open_time < wanted.end:
            opens.append(epoch_ms(open_time))
            open_time = grid.advance(open_time, 1)

        assert grid.opens_in(wanted).tolist() == opens
