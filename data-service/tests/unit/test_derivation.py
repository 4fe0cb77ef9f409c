"""Bars put together from shorter ones: the same however they come, and none of which anything is missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, epoch_ms, quick, span, table, utc

from cb_trade_data.historical.rebuilding import folded
from cb_trade_data.historical.views.derivation import Derivation
from cb_trade_data.models.market import OHLCV_SCHEMA, TIMESTAMP, slice_range
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State

START = utc("2023-12-28T00:00")


def frame(name: str) -> Timeframe:
    return Timeframe.parse(name)


def random_bars(timeframe: str, places: list[int], seed: int = 0) -> pa.Table:
    """Return bars at these numbers from the start on, with prices and volumes that have many digits."""
    random = np.random.default_rng(seed)
    grid = frame(timeframe)
    rows = []
    for place in places:
        low, open_, close, high = (100 * random.random(4)).cumsum().tolist()
        volume = float(random.random() * 10.0 ** random.integers(-8, 8))
        rows.append((epoch_ms(grid.advance(START, place)), open_, high, low, close, volume))
    return table(rows)


places_of_bars = st.sets(st.integers(0, 3000), max_size=400).map(sorted)


@quick()
@given(places_of_bars, st.integers(0, 100))
def test_resampling_commutes(places, seed):
    """In one step or in two: prices exactly, volumes but for the rounding of sums."""
    minutes = random_bars("1m", places, seed)

    at_once = folded(minutes, frame("1h"))
    in_steps = folded(folded(minutes, frame("5m")), frame("1h"))

    assert_same_rows(in_steps.drop(["volume"]), at_once.drop(["volume"]))
    np.testing.assert_allclose(in_steps["volume"].to_numpy(), at_once["volume"].to_numpy(), rtol=1e-12)


@quick()
@given(places_of_bars, st.sampled_from(["5m", "15m", "1h", "4h", "1d", "1w", "1M"]))
def test_a_bar_is_its_first_open_highest_high_lowest_low_last_close_and_all_its_volume(places, timeframe):
    """Held against plain Python, which adds one after the other as well."""
    minutes = random_bars("1m", places)
    grid = frame(timeframe)
    by_open: dict[int, list[dict[str, float]]] = {}
    for row in minutes.to_pylist():
        by_open.setdefault(epoch_ms(grid.floor(row["timestamp"])), []).append(row)
    expected = []
    for open_ms, rows in by_open.items():
        volume = 0.0
        for row in rows:
            volume += row["volume"]
        highs, lows = [row["high"] for row in rows], [row["low"] for row in rows]
        expected.append((open_ms, rows[0]["open"], max(highs), min(lows), rows[-1]["close"], volume))

    assert_same_rows(folded(minutes, grid), table(expected))


def derive(
    rows: pa.Table, timeframe: str, cuts: list[int], segments: list[Segment] | None = None, length_hours: int = 51
) -> tuple[pa.Table, list[Segment]]:
    """Return what comes of rows that come in pieces, cut at these numbers of hours, and what is told of the bars."""
    grid, hour = frame(timeframe), timedelta(hours=1)
    end = grid.ceil(START + length_hours * hour)
    bars = TimeRange(grid.floor(START), end)
    derivation = Derivation(grid, bars)
    made, told = [OHLCV_SCHEMA.empty_table()], []
    edges = sorted({bars.start, end, *(START + cut * hour for cut in cuts if START + cut * hour < end)})
    for start, stop in pairwise(edges):
        part = TimeRange(start, stop)
        known = [Segment(part, State.HELD)] if segments is None else _within(segments, part)
        told += derivation.see(known, [])[0]
        made.append(derivation.add(slice_range(rows, part)))
    if derivation.unsaid is not None:
        told += derivation.see([Segment(derivation.unsaid, State.UNKNOWN)], [])[0]
    made.append(derivation.add(OHLCV_SCHEMA.empty_table()))
    return pa.concat_tables(made), told


def _within(segments: list[Segment], part: TimeRange) -> list[Segment]:
    shared = ((each, each.range.intersect(part)) for each in segments)
    return [replace(each, range=range_) for each, range_ in shared if range_ is not None]


@quick()
@given(
    places_of_bars,
    st.lists(st.integers(0, 60), max_size=6),
    st.sampled_from(["5m", "1h", "4h", "1d", "1w", "1M"]),
)
def test_what_comes_in_pieces_is_the_same_to_the_last_bit_wherever_it_is_cut(places, cuts, timeframe):
    minutes = random_bars("1m", places)

    made, _ = derive(minutes, timeframe, cuts)

    assert_same_rows(made.combine_chunks(), folded(minutes, frame(timeframe)))


@quick(200)
@given(
    st.lists(st.tuples(st.sampled_from([*State]), st.integers(1, 3), st.integers(1, 9)), max_size=12),
    st.sets(st.integers(0, 60)).map(sorted),
    st.lists(st.integers(0, 60), max_size=6),
    st.sampled_from(["2h", "4h", "1d", "1w"]),
)
def test_there_is_a_bar_exactly_where_all_of_its_time_is_settled_and_something_was_traded(
    parts, places, cuts, timeframe
):
    hour, grid, cursor = timedelta(hours=1), frame(timeframe), START
    segments = []
    for state, asks, hours in parts:
        asked = {"asked_at": utc("2024-02-01"), "asks": asks} if state is State.EMPTY else {}
        segments.append(Segment(TimeRange(cursor, cursor + hours * hour), state, **asked))
        cursor += hours * hour
    rows = random_bars("1h", places)
    rows = pa.concat_tables(
        [rows.slice(0, 0), *(slice_range(rows, each.range) for each in segments if each.state is State.HELD)]
    )
    settled = [each.range for each in segments if each.is_final]

    def is_settled(bar: TimeRange) -> bool:
        hours = (bar.start + number * hour for number in range((bar.end - bar.start) // hour))
        return all(any(instant in part for part in settled) for instant in hours)

    made, told = derive(rows, timeframe, cuts, segments, length_hours=61)

    bars = {grid.floor(row["timestamp"]): grid.bar(grid.floor(row["timestamp"])) for row in rows.to_pylist()}
    expected = [open_ for open_, bar in bars.items() if is_settled(bar)]
    assert made["timestamp"].to_pylist() == expected
    assert_same_rows(
        made.combine_chunks(),
        folded(
            pa.concat_tables(
                [rows.slice(0, 0), *(slice_range(rows, bars[open_]) for open_ in expected)]
            ).combine_chunks(),
            grid,
        ),
    )
    for segment in told:
        bar = segment.range
        while bar is not None:
            first = grid.bar(bar.start)
            assert is_settled(first) == segment.is_final
            bar = TimeRange(first.end, bar.end) if first.end < bar.end else None


def test_what_a_refresh_could_not_ask_again_is_told_of_whole_bars_and_once():
    derivation = Derivation(frame("4h"), span("2024-01-01", "2024-01-03"))
    failed = [
        Segment(span("2024-01-01T05:00", "2024-01-01T06:00"), State.FAILED, utc("2024-02-01"), reason="first"),
        Segment(span("2024-01-01T07:00", "2024-01-01T09:00"), State.FAILED, utc("2024-02-01"), reason="second"),
    ]

    known, early = derivation.see([Segment(span("2024-01-01", "2024-01-01T10:00"), State.HELD)], failed)
    later, late = derivation.see([Segment(span("2024-01-01T10:00", "2024-01-03"), State.HELD)], [])

    assert {segment.state for segment in (*known, *later)} == {State.HELD}
    assert [(each.range, each.reason) for each in early] == [(span("2024-01-01T04:00", "2024-01-01T08:00"), "first")]
    assert [(each.range, each.reason) for each in late] == [(span("2024-01-01T08:00", "2024-01-01T12:00"), "second")]


@pytest.mark.parametrize(
    ("timeframe", "start", "expected"),
    [
        ("1w", "2023-12-25", ["2023-12-25", "2024-01-01", "2024-01-08"]),
        ("1M", "2023-12-01", ["2023-12-01", "2024-01-01", "2024-02-01", "2024-03-01"]),
        ("3M", "2023-10-01", ["2023-10-01", "2024-01-01", "2024-04-01"]),
    ],
)
def test_days_make_calendar_weeks_and_months_over_the_turn_of_the_year(timeframe, start, expected):
    days = 7 * len(expected) if timeframe == "1w" else 100
    first = utc(start)
    rows = table([(epoch_ms(first + timedelta(days=day)), 1.0, 2.0, 0.5, 1.5, 1.0) for day in range(days)])

    made = folded(rows, frame(timeframe))

    opens = [f"{row['timestamp']:%Y-%m-%d}" for row in made.to_pylist()]
    assert opens == expected[: len(opens)]
    assert len(opens) >= 2
    lengths = [frame(timeframe).bar(row["timestamp"]).duration / timedelta(days=1) for row in made.to_pylist()[:-1]]
    assert made["volume"].to_pylist()[:-1] == lengths


@pytest.mark.parametrize("timeframe", ["4h", "1w"])
def test_of_all_bars_only_one_that_may_go_on_is_held_back(timeframe):
    """So that a year of minutes is put together without being held, and no bar waits for rows that may never come."""
    grid = frame(timeframe)
    derivation = Derivation(grid, span("2024-01-01", "2025-01-06"))
    day_of_minutes = 60_000 * np.arange(1440)
    values = [pa.array(np.ones(1440))] * 5
    handed_out = 0
    for day in range(366):
        start = utc("2024-01-01") + timedelta(days=day)
        derivation.see([Segment(TimeRange(start, start + timedelta(days=1)), State.HELD)], [])
        times = pa.array(epoch_ms(start) + day_of_minutes).cast(TIMESTAMP)

        handed_out += derivation.add(pa.table([times, *values], schema=OHLCV_SCHEMA)).num_rows

        assert handed_out == (start + timedelta(days=1) - utc("2024-01-01")) // grid.duration
