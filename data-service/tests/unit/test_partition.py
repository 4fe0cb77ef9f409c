from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from unit_builders import TIMEFRAMES, instants, quick, series, span, utc

from cb_trade_data.models import partition as partition_module
from cb_trade_data.models.partition import EVER, Partition, partition_at, partitions_of
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

MICROSECOND = timedelta(microseconds=1)
names = st.sampled_from([str(timeframe) for timeframe in TIMEFRAMES])


@pytest.mark.parametrize("name", ["1s", "1m", "5m", "30m"])
def test_bars_below_an_hour_are_kept_by_month(name):
    partition = partition_at(series(timeframe=name), utc("2024-02-29T23:59:59.999"))

    assert (partition.year, partition.month) == (2024, 2)
    assert partition.range == span("2024-02-01", "2024-03-01")


@pytest.mark.parametrize("name", ["1h", "2h", "12h"])
def test_bars_from_an_hour_to_below_a_day_are_kept_by_year(name):
    partition = partition_at(series(timeframe=name), utc("2024-12-31T23:59:59.999"))

    assert (partition.year, partition.month) == (2024, 0)
    assert partition.range == span("2024-01-01", "2025-01-01")


@pytest.mark.parametrize("name", ["1d", "3d", "1w", "1M", "3M"])
def test_bars_from_a_day_up_are_kept_whole(name):
    partition = partition_at(series(timeframe=name), utc("2024-06-15"))

    assert (partition.year, partition.month) == (0, 0)
    assert partition.range == EVER


def test_december_ends_with_the_year():
    assert Partition(series(), 2023, 12).range == span("2023-12-01", "2024-01-01")


def test_a_month_begins_with_its_first_instant():
    assert partition_at(series(), utc("2024-03-01")).month == 3
    assert partition_at(series(), utc("2024-03-01") - MICROSECOND).month == 2
    assert partition_at(series(timeframe="1h"), utc("2024-01-01") - MICROSECOND).year == 2023


@quick(200)
@given(names, instants)
def test_an_instant_lies_in_the_range_of_its_partition(name, instant):
    assert instant in partition_at(series(timeframe=name), instant).range


@quick(150)
@given(names, instants, instants)
def test_partitions_tile_a_range_exactly_and_in_order(name, one, other):
    assume(one != other)
    wanted = TimeRange(min(one, other), min(max(one, other), min(one, other) + timedelta(days=900)))
    parts = list(partitions_of(series(timeframe=name), wanted))

    assert parts[0][1].start == wanted.start
    assert parts[-1][1].end == wanted.end
    assert all(part.end == later.start for (_, part), (_, later) in pairwise(parts))
    assert len({partition for partition, _ in parts}) == len(parts)
    for partition, part in parts:
        assert partition == partition_at(series(timeframe=name), part.start)
        assert part.intersect(partition.range) == part


def test_a_range_that_ends_on_an_edge_does_not_touch_the_next_partition():
    parts = [part for _, part in partitions_of(series(), span("2023-12-15", "2024-02-01"))]

    assert parts == [span("2023-12-15", "2024-01-01"), span("2024-01-01", "2024-02-01")]


def test_partitions_are_found_one_at_a_time(monkeypatch):
    """A request for ten years must not plan ten years before its first row."""
    found: list[datetime] = []

    def counted(of, instant):
        found.append(instant)
        return partition_at(of, instant)

    monkeypatch.setattr(partition_module, "partition_at", counted)
    parts = partitions_of(series(), EVER)
    next(parts)
    next(parts)

    assert found == [utc("1970-01-01"), utc("1970-02-01")]


def test_a_partition_is_written_with_its_series_year_and_month():
    assert str(partition_at(series(), utc("2024-02-29"))) == "binance BTC/USDT ohlcv 1m 2024-02"


def test_nothing_of_a_derived_series_is_ever_stored():
    derived = Series("coinbase", "BTC/USDT", Kind.OHLCV, Timeframe.parse("4h"), Timeframe.parse("2h"))

    with pytest.raises(ValueError, match="is not stored"):
        partition_at(derived, utc("2024-01-01"))
