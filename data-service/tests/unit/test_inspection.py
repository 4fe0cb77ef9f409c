from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import MINUTE, epoch_ms, minute, quick

from cb_trade_data.models.market import OHLCV_SCHEMA, TIMESTAMP, timestamps_ms
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality import inspection, outliers, runs
from cb_trade_data.quality.bars import Bars, RowNumbers
from cb_trade_data.quality.codes import DataCode
from cb_trade_data.quality.inspection import ODDITIES, Finding, inspect

COUNT = 200
MIDDLE = 100

Columns = dict[str, Any]
Change = Callable[[Columns], object]


def market(*changes: Change, count: int = COUNT, step_ms: int = 60_000) -> pa.Table:
    """Return lively minutes, each within a percent of the one before, with these changes made to their columns."""
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, count)))
    opened = np.append(100.0, close[:-1])
    columns: Columns = {
        "timestamp": epoch_ms(minute(0)) + np.arange(count, dtype=np.int64) * step_ms,
        "open": opened,
        "high": np.maximum(opened, close) * np.exp(rng.uniform(0.001, 0.003, count)),
        "low": np.minimum(opened, close) * np.exp(-rng.uniform(0.001, 0.003, count)),
        "close": close,
        "volume": np.exp(rng.normal(2, 0.7, count)),
    }
    for change in changes:
        change(columns)
    times = pa.array(columns.pop("timestamp")).cast(TIMESTAMP)
    return pa.table([times, *columns.values()], schema=OHLCV_SCHEMA)


def times(names: str, factor: float, rows: int | slice = MIDDLE) -> Change:
    """Multiply these columns."""

    def change(columns: Columns) -> None:
        for name in names.split():
            columns[name][rows] *= factor

    return change


def repeated(count: int, first: int = MIDDLE) -> Change:
    """Have so many bars say what the bar before them did."""

    def change(columns: Columns) -> None:
        for name in OHLCV_SCHEMA.names[1:]:
            columns[name][first : first + count] = columns[name][first - 1]

    return change


def flat(rows: slice, volume: float = 0.0) -> Change:
    """Have bars stand where the market closed before them, as fillers do."""

    def change(columns: Columns) -> None:
        for name in ("open", "high", "low", "close"):
            columns[name][rows] = columns["close"][rows.start - 1]
        columns["volume"][rows] = volume

    return change


def hole(minutes: int, before: int = MIDDLE) -> Change:
    """Leave out so many minutes before a row."""

    def change(columns: Columns) -> None:
        columns["timestamp"][before:] += minutes * 60_000

    return change


def flagged(rows: pa.Table, timeframe: Timeframe = MINUTE) -> dict[DataCode, list[int]]:
    """Return which rows are flagged as what."""
    return {code: found.tolist() for code, found in inspect(rows, timeframe).flagged.items() if len(found)}


PRICES = "open high low close"


def test_a_lively_market_has_nothing_odd():
    assert flagged(market()) == {}


@pytest.mark.parametrize("names", [PRICES, "high close", "high"])
def test_a_bar_that_goes_far_up_and_comes_back_is_a_price_outlier(names: str):
    assert flagged(market(times(names, 1.1))) == {DataCode.PRICE_OUTLIER: [MIDDLE]}


@pytest.mark.parametrize("names", [PRICES, "low close", "low"])
def test_a_bar_that_goes_far_down_and_comes_back_is_a_price_outlier(names: str):
    assert flagged(market(times(names, 0.9))) == {DataCode.PRICE_OUTLIER: [MIDDLE]}


def test_what_is_less_than_two_percent_away_is_no_outlier_however_quiet_the_market_is():
    def quiet(columns: Columns) -> None:
        for name in PRICES.split():
            columns[name] = 100 + (columns[name] - 100) / 1000

    assert flagged(market(quiet, times("high", 1.015))) == {}
    assert flagged(market(quiet, times("high", 1.025))) == {DataCode.PRICE_OUTLIER: [MIDDLE]}


def test_a_crash_that_stays_is_no_outlier():
    assert flagged(market(times(PRICES, 0.5, slice(MIDDLE, None)))) == {}


def test_wicks_as_long_as_those_around_them_are_no_outliers():
    assert flagged(market(times("high", 1.03, slice(MIDDLE - 12, MIDDLE + 12)), times("high", 1.03))) == {}


def test_a_crash_in_the_last_bar_is_no_outlier_since_it_may_stay():
    assert flagged(market(times("low close", 0.8, COUNT - 1))) == {}


def test_a_wick_of_the_last_bar_is_an_outlier_since_the_bar_itself_came_back():
    assert flagged(market(times("low", 0.8, COUNT - 1))) == {DataCode.PRICE_OUTLIER: [COUNT - 1]}


def test_a_wick_of_the_first_bar_is_an_outlier_since_the_bar_began_elsewhere():
    assert flagged(market(times("high", 1.3, 0))) == {DataCode.PRICE_OUTLIER: [0]}


def test_a_jump_in_the_first_bar_is_no_outlier_since_it_may_have_been_so_before():
    assert flagged(market(times(PRICES, 1.3, 0))) == {}


def test_another_outlier_beside_the_next_bar_hides_none():
    changed = market(times(PRICES, 1.2), times(PRICES, 1.2, MIDDLE + 2))

    assert flagged(changed) == {DataCode.PRICE_OUTLIER: [MIDDLE, MIDDLE + 2]}


def test_bars_behind_a_long_hole_are_no_neighbours():
    alone = market(hole(1000), hole(1000, MIDDLE + 1), times(PRICES, 1.3))

    assert flagged(alone) == {}


def test_a_minute_that_is_missing_makes_nobody_blind():
    assert flagged(market(hole(1), hole(1, MIDDLE + 1), times(PRICES, 1.3))) == {DataCode.PRICE_OUTLIER: [MIDDLE]}


@pytest.mark.parametrize(("name", "factor"), [("high", 1.5), ("low", 0.5)])
def test_of_a_bar_without_neighbours_the_wick_is_what_is_odd(name: str, factor: float):
    rows = market(hole(10), hole(10, MIDDLE + 1), times(name, factor))

    [finding] = inspect(rows, MINUTE).findings()

    assert (finding.code, finding.columns) == (DataCode.PRICE_OUTLIER, (name,))
    assert (finding.value, np.isnan(finding.usual)) == (rows.column(name)[MIDDLE].as_py(), True)


def test_a_wick_before_a_long_hole_is_an_outlier_whatever_the_market_does_behind_it():
    rows = market(times("high", 1.1, MIDDLE - 1), hole(1000), times(PRICES, 2, slice(MIDDLE, None)))

    assert flagged(rows) == {DataCode.PRICE_OUTLIER: [MIDDLE - 1]}


def even(columns: Columns) -> None:
    """Have every bar go from 99 to 101, which is a spread of 2 %, and come back."""
    for name, price in (("open", 100.0), ("high", 101.0), ("low", 99.0), ("close", 100.0)):
        columns[name][:] = price
    columns["volume"][:] = np.arange(1000, 1000 + len(columns["volume"]))


@pytest.mark.parametrize(("names", "nearly", "enough"), [("high close", 1.04, 1.06), ("high", 1.07, 1.1)])
def test_a_close_is_an_outlier_at_fewer_spreads_than_a_wick_which_goes_far_more_often(
    names: str, nearly: float, enough: float
):
    assert flagged(market(even, times(names, nearly))) == {}
    assert flagged(market(even, times(names, enough))) == {DataCode.PRICE_OUTLIER: [MIDDLE]}


def test_where_one_bar_in_four_is_wide_it_takes_more_to_stand_out():
    def wide(columns: Columns) -> None:
        columns["low"][::4] = 90.0

    assert flagged(market(even, wide, times("high", 1.2, MIDDLE + 1))) == {}
    assert flagged(market(even, wide, times("high", 1.6, MIDDLE + 1))) == {DataCode.PRICE_OUTLIER: [MIDDLE + 1]}


def flickering(columns: Columns) -> None:
    """Have nearly every bar stand still at two satoshi, and some at three, the next price there is."""
    at_three = np.random.default_rng(2).random(COUNT) < 0.05
    at_three[MIDDLE - 3 : MIDDLE + 4] = False
    for name in ("open", "high", "low", "close"):
        columns[name][:] = np.where(at_three, 3e-8, 2e-8)


def test_one_tick_up_and_back_is_no_outlier_however_much_that_is_in_percent():
    assert DataCode.PRICE_OUTLIER not in flagged(market(flickering))


def test_many_ticks_up_and_back_are_an_outlier():
    assert flagged(market(flickering, times(PRICES, 15)))[DataCode.PRICE_OUTLIER] == [MIDDLE]


def doubling(columns: Columns) -> None:
    for name in PRICES.split():
        columns[name] *= np.geomspace(1, 2, len(columns[name]))


def agreeing(row: int) -> Change:
    """Have a bar close where the last but two before it did."""

    def change(columns: Columns) -> None:
        close = columns["close"][row] = columns["close"][row - 3]
        columns["high"][row] = max(columns["high"][row], close)
        columns["low"][row] = min(columns["low"][row], close)

    return change


@pytest.mark.parametrize(
    "changes",
    [[agreeing(20), agreeing(180)], [repeated(1, 20), repeated(1, 180)], [flat(slice(20, 25)), flat(slice(180, 185))]],
    ids=["by chance", "stale", "flat"],
)
def test_closes_that_agree_where_most_do_not_make_no_tick(changes: list[Change]):
    rows = market(doubling, *changes, times(PRICES, 1.2))

    assert flagged(rows)[DataCode.PRICE_OUTLIER] == [MIDDLE]


def test_where_a_feed_hangs_for_most_of_the_time_the_prices_it_hangs_at_make_no_tick():
    rows = market(doubling, flat(slice(5, 26)), flat(slice(35, 56)), times(PRICES, 1.2, 30), count=60)

    assert flagged(rows)[DataCode.PRICE_OUTLIER] == [30]


def at_ticks(ticks: RowNumbers) -> Change:
    """Have all bars stand still, each at so many satoshi."""

    def change(columns: Columns) -> None:
        for name in PRICES.split():
            columns[name][:] = ticks * 1e-8

    return change


def flickering_about(ticks: int) -> RowNumbers:
    """Return so many ticks, of every tenth bar one more, but not where it is looked at."""
    found = ticks + (np.arange(COUNT) % 10 == 5)
    found[MIDDLE - 12 : MIDDLE + 13] = ticks
    return found


@pytest.mark.parametrize(("ticks", "is_odd"), [(12, False), (13, True)])
def test_what_a_tick_is_in_percent_is_told_by_where_prices_are_low(ticks: int, is_odd: bool):
    found = flickering_about(20)
    found[MIDDLE - 3 : MIDDLE + 4] = 10
    found[MIDDLE] = ticks

    assert flagged(market(at_ticks(found))).get(DataCode.PRICE_OUTLIER, []) == ([MIDDLE] if is_odd else [])


def test_low_prices_behind_a_long_hole_do_not_tell_what_a_tick_is_in_percent():
    found = np.append(flickering_about(2)[: MIDDLE - 2], flickering_about(40)[MIDDLE - 2 :])
    found[MIDDLE] = 80

    rows = market(at_ticks(found), hole(1000, MIDDLE - 2))

    assert flagged(rows)[DataCode.PRICE_OUTLIER] == [MIDDLE]


def test_one_price_that_is_far_too_low_hides_no_outlier_near_it():
    def in_tenths(columns: Columns) -> None:
        for name in PRICES.split():
            columns[name] = np.round(columns[name], 1)

    spike = times(PRICES, 1.2)
    nothing, milli = times("low close", 0.0, MIDDLE + 10), times(PRICES, 0.001, MIDDLE + 10)

    assert flagged(market(in_tenths, spike, nothing)) == {DataCode.PRICE_OUTLIER: [MIDDLE, MIDDLE + 10]}
    assert flagged(market(in_tenths, spike, milli)) == {
        DataCode.OTHER_UNIT: [MIDDLE + 10],
        DataCode.PRICE_OUTLIER: [MIDDLE],
    }


def test_lows_of_nothing_on_either_side_hide_no_high():
    nothing = times("low", 0.0, slice(MIDDLE - 1, MIDDLE + 2))

    assert flagged(market(nothing)) == {}
    assert flagged(market(nothing, times("high", 2.0))) == {DataCode.PRICE_OUTLIER: [MIDDLE]}


def test_among_a_few_bars_none_stands_out():
    assert flagged(market(even, times(PRICES, 1.3, 2), count=5)) == {}
    assert flagged(market(even, times("volume", 1000, 2), count=5)) == {}


def test_a_price_of_nothing_is_an_outlier():
    assert flagged(market(times("low", 0.0))) == {DataCode.PRICE_OUTLIER: [MIDDLE]}


def test_a_price_outlier_tells_which_prices_are_odd_the_oddest_first_and_what_would_be_usual():
    rows = market(times("high", 1.3), times("close", 1.2))
    closes = rows.column("close").to_numpy()
    around = np.median(np.delete(closes[MIDDLE - 3 : MIDDLE + 4], 3))

    (found,) = inspect(rows, MINUTE).findings()

    high = rows.column("high")[MIDDLE].as_py()
    assert found == Finding(DataCode.PRICE_OUTLIER, minute(MIDDLE), ("high", "close"), high, float(around))


def test_a_volume_that_the_bars_around_come_nowhere_near_is_an_outlier():
    assert flagged(market(times("volume", 1000))) == {DataCode.VOLUME_OUTLIER: [MIDDLE]}


def test_ten_times_the_usual_volume_is_no_outlier():
    median = np.median(market().column("volume").to_numpy()[MIDDLE - 12 : MIDDLE + 13])

    def ten_times(columns: Columns) -> None:
        columns["volume"][MIDDLE] = 10 * median

    assert flagged(market(ten_times)) == {}


@pytest.mark.parametrize("row", [0, MIDDLE, COUNT - 1])
def test_twenty_times_the_usual_volume_is_an_outlier_where_volumes_hardly_differ(row: int):
    assert flagged(market(even, times("volume", 19, row))) == {}
    assert flagged(market(even, times("volume", 21, row))) == {DataCode.VOLUME_OUTLIER: [row]}


def test_where_volumes_scatter_more_it_takes_more_to_stand_out():
    def scattered(columns: Columns) -> None:
        columns["volume"][:] = np.where(np.arange(COUNT) % 3 == 0, 100.0, 1.0) + np.arange(COUNT) / 1e6

    assert flagged(market(scattered, times("volume", 10_000, 101))) == {}


def test_a_spell_of_great_volume_is_no_outlier():
    assert flagged(market(times("volume", 1000, slice(MIDDLE, MIDDLE + 3)))) == {}


def test_a_small_volume_is_no_outlier():
    assert flagged(market(times("volume", 0.0001))) == {}


def test_what_is_traded_between_minutes_without_trades_is_no_outlier():
    assert flagged(market(times("volume", 0, slice(None, None, 2)), times("volume", 1000, MIDDLE + 1))) == {}


def test_a_volume_outlier_tells_what_is_usual_where_something_is_traded():
    rows = market(times("volume", 1000), times("volume", 0, MIDDLE + 5))
    volumes = rows.column("volume").to_numpy()
    around = np.median(np.delete(volumes[MIDDLE - 12 : MIDDLE + 13], [12, 17]))

    (found,) = inspect(rows, MINUTE).findings()

    assert found == Finding(DataCode.VOLUME_OUTLIER, minute(MIDDLE), ("volume",), volumes[MIDDLE], float(around))


def test_a_bar_that_is_just_as_the_one_before_is_a_stale_repeat():
    assert flagged(market(repeated(3))) == {DataCode.STALE_REPEAT: [100, 101, 102]}


def test_a_bar_that_differs_from_the_one_before_in_one_number_is_no_stale_repeat():
    assert flagged(market(repeated(1), times("volume", 1.001))) == {}


def test_a_bar_behind_a_hole_is_no_stale_repeat():
    assert flagged(market(repeated(1), hole(1))) == {}


def test_months_follow_each_other_although_they_differ_in_length():
    opens = np.array(["2024-01", "2024-02", "2024-03", "2024-05"], "datetime64[M]").astype("datetime64[ms]")

    def monthly(columns: Columns) -> None:
        columns["timestamp"] = opens.astype(np.int64)
        for name in OHLCV_SCHEMA.names[1:]:
            columns[name][:] = columns[name][0]

    assert flagged(market(monthly, count=4), Timeframe.parse("1M")) == {DataCode.STALE_REPEAT: [1, 2]}


@pytest.mark.parametrize("volume", [0.0, 7.0])
def test_bars_that_stand_still_in_a_lively_market_are_a_flat_run(volume: float):
    assert flagged(market(flat(slice(100, 105), volume))) == {DataCode.FLAT_RUN: [100, 101, 102, 103, 104]}


def test_two_bars_that_stand_still_are_no_flat_run():
    assert flagged(market(flat(slice(100, 102)))) == {}


def test_a_hole_breaks_a_flat_run():
    assert flagged(market(flat(slice(100, 104)), hole(1, 102))) == {}


def test_bars_that_stand_still_at_different_prices_are_no_flat_run():
    assert flagged(market(*(flat(slice(row, row + 1)) for row in range(103, 99, -1)))) == {}


def test_quiet_minutes_that_an_exchange_fills_are_no_flat_run_where_there_are_many():
    rng = np.random.default_rng(2)
    quiet = [flat(slice(row, row + 1)) for row in np.flatnonzero(rng.random(2000) < 0.5).tolist() if row]

    assert flagged(market(*quiet, count=2000)) == {}


def test_a_long_standstill_among_quiet_minutes_is_a_flat_run():
    quiet = [flat(slice(row, row + 1)) for row in range(2, 400, 4)]

    assert flagged(market(*quiet, flat(slice(200, 230)), count=400)) == {DataCode.FLAT_RUN: list(range(200, 230))}


def test_how_long_a_run_must_be_is_told_by_how_many_of_the_bars_around_it_stand_still():
    lone = [flat(slice(row, row + 1)) for row in (50, 60, 70, 130, 140)]

    assert flagged(market(flat(slice(100, 103)))) == {DataCode.FLAT_RUN: [100, 101, 102]}
    assert flagged(market(*lone, flat(slice(100, 104)))) == {}
    assert flagged(market(*lone, flat(slice(100, 105)))) == {DataCode.FLAT_RUN: [100, 101, 102, 103, 104]}


def test_bars_that_stand_still_a_night_away_do_not_make_a_run_usual():
    night = [flat(slice(row, row + 1)) for row in range(2, 200, 2)]

    assert flagged(market(*night, flat(slice(300, 303)), count=400)) == {DataCode.FLAT_RUN: [300, 301, 302]}


def test_of_a_few_bars_that_stand_still_nothing_is_told():
    assert flagged(market(flat(slice(1, 10)), count=20)) == {}


@pytest.mark.parametrize("factor", [10.0, 0.1, 1000.0, 1e-8])
@pytest.mark.parametrize("rows", [slice(100, 101), slice(100, 140), slice(150, 200), slice(0, 20)])
def test_prices_that_are_a_power_of_ten_of_those_before_and_after_are_in_another_unit(factor: float, rows: slice):
    found = flagged(market(times(PRICES, factor, rows)))

    assert found == {DataCode.OTHER_UNIT: list(range(COUNT))[rows]}


def test_a_price_in_another_unit_tells_what_it_is_in_the_unit_of_the_others():
    rows = market(times(PRICES, 100.0))
    close = rows.column("close")[MIDDLE].as_py()

    (found,) = inspect(rows, MINUTE).findings()

    assert (found.code, found.columns[0], found.value) == (DataCode.OTHER_UNIT, "close", close)
    assert found.usual == pytest.approx(close / 100)


@pytest.mark.parametrize("ends", ["start", "end"])
def test_a_price_many_jumps_away_from_the_others_tells_what_it_is_in_their_unit(ends: str):
    usual = market().column("close").to_numpy()
    jumps = np.clip(np.arange(COUNT) - (MIDDLE if ends == "end" else 0), 0, 66) * 9

    def jumping(columns: Columns) -> None:
        for name in PRICES.split():
            columns[name] *= 10.0 ** (jumps - 300)

    found = list(inspect(market(jumping), MINUTE).findings())

    places = [round((each.time - minute(0)).total_seconds()) // 60 for each in found]
    unit = 10.0 ** (-300 if ends == "end" else 294)
    assert places == np.flatnonzero(jumps != (0 if ends == "end" else 594)).tolist()
    assert [each.usual for each in found] == pytest.approx(usual[places] * unit, rel=1e-9, abs=0.0)


@pytest.mark.parametrize(("factor", "is_unit"), [(11.8, True), (12.2, False), (1 / 11.8, True), (1 / 12.2, False)])
def test_a_jump_may_be_a_fifth_more_than_a_power_of_ten(factor: float, is_unit: bool):
    last = list(range(150, COUNT))

    found = flagged(market(times(PRICES, factor, slice(150, None))))

    assert found == ({DataCode.OTHER_UNIT: last} if is_unit else {})


@pytest.mark.parametrize(
    ("names", "factor"),
    [
        ("low close", 0.1),
        ("low close", 0.11),
        ("low close", 0.01),
        ("high close", 10.0),
        ("low open", 0.1),
        ("open high", 10.0),
    ],
)
def test_a_bar_that_is_near_a_tenth_at_one_end_alone_is_in_no_other_unit_nor_is_what_follows(names: str, factor: float):
    assert DataCode.OTHER_UNIT not in flagged(market(times(names, factor)))


@pytest.mark.parametrize("factor", [0.4, 2.5])
@pytest.mark.parametrize("row", [MIDDLE - 1, MIDDLE, MIDDLE + 9])
def test_also_where_a_bar_moves_far_beside_a_jump_the_prices_between_two_jumps_are_in_another_unit(
    row: int, factor: float
):
    def moving(columns: Columns) -> None:
        columns["close"][row] *= factor
        for name in PRICES.split():
            columns[name][row + 1 :] *= factor
        columns["high"][row] = max(columns["high"][row], columns["close"][row])
        columns["low"][row] = min(columns["low"][row], columns["close"][row])

    rows = slice(MIDDLE, MIDDLE + 10)

    assert flagged(market(moving, times(PRICES, 10.0, rows)))[DataCode.OTHER_UNIT] == list(range(COUNT))[rows]


def test_a_crash_to_a_tenth_within_bars_is_no_other_unit():
    def crash(columns: Columns) -> None:
        fall = np.append(np.ones(MIDDLE), np.geomspace(1, 0.01, COUNT - MIDDLE))
        for name in PRICES.split():
            columns[name] *= fall

    assert flagged(market(crash)) == {}


@pytest.mark.parametrize("factor", [7.0, 1e10])
def test_a_jump_to_seven_times_as_much_or_to_more_than_billions_is_no_other_unit(factor: float):
    assert flagged(market(times(PRICES, factor, slice(MIDDLE, None)))) == {}


def test_a_row_is_counted_once():
    found = flagged(market(times(PRICES, 10.0), times("volume", 1000)))

    assert found == {DataCode.OTHER_UNIT: [MIDDLE]}


def test_every_code_is_told_of_even_where_nothing_is_so():
    assert tuple(inspect(market(), MINUTE).flagged) == ODDITIES


@pytest.mark.parametrize("count", range(5))
def test_a_few_bars_are_nothing_odd(count: int):
    assert flagged(market().slice(0, count)) == {}


def test_findings_come_in_time_order():
    rows = market(times("volume", 1000, 50), times(PRICES, 1.2, 60), repeated(1, 70), times("volume", 1000, 80))

    found = list(inspect(rows, MINUTE).findings())

    assert [each.time for each in found] == [minute(row) for row in (50, 60, 70, 80)]


@pytest.mark.parametrize("block_rows", [1, 7, 100, 101])
def test_what_is_found_does_not_depend_on_how_many_rows_are_looked_at_at_a_time(
    block_rows: int, monkeypatch: pytest.MonkeyPatch
):
    odd = [times(PRICES, 10.0, slice(30, 40)), repeated(3, 98), flat(slice(120, 125)), times("high", 1.1, 7 * 20)]
    rows = market(*odd, times("volume", 1000, 180), hole(100, 170))
    whole = flagged(rows)
    monkeypatch.setattr(inspection, "_BLOCK_ROWS", block_rows)

    assert flagged(rows) == whole
    assert set(whole) == set(ODDITIES)


def all_suspects(bars: Bars) -> inspection._Suspects:
    numbers = np.arange(len(bars))
    return inspection._Suspects(numbers, numbers, numbers[1:], np.flatnonzero(runs.is_flat(bars)), True)


near_middle = st.integers(MIDDLE - 5, MIDDLE + 5)
oddities = st.one_of(
    st.builds(hole, st.integers(1, 8), near_middle),
    st.builds(times, st.sampled_from([PRICES, "high close", "high"]), st.sampled_from([1.2, 10.0]), near_middle),
    st.builds(times, st.sampled_from([PRICES, "low close", "low"]), st.sampled_from([0.0, 0.1, 0.9]), near_middle),
    st.builds(times, st.just("volume"), st.sampled_from([0.0, 1000.0]), near_middle),
    st.builds(repeated, st.integers(1, 3), near_middle),
)


@quick(300)
@given(st.lists(oddities, max_size=8))
def test_what_is_found_is_what_would_be_if_every_row_were_looked_at_closely(changes: list[Change]):
    rows = market(*changes)
    found = flagged(rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspection, "_suspects", all_suspects)
        assert flagged(rows) == found


@pytest.mark.parametrize("minutes", [2, 5, 10])
def test_of_two_great_volumes_with_a_hole_between_them_neither_hides_the_other(minutes: int):
    rows = market(times("volume", 1000, slice(MIDDLE - 1, MIDDLE + 1)), hole(minutes))

    assert flagged(rows) == {DataCode.VOLUME_OUTLIER: [MIDDLE - 1, MIDDLE]}


@pytest.mark.parametrize("minutes", [2, 10])
def test_of_two_long_wicks_with_a_hole_between_them_neither_hides_the_other(minutes: int):
    rows = market(times("high", 1.1, slice(MIDDLE - 1, MIDDLE + 1)), hole(minutes))

    assert flagged(rows) == {DataCode.PRICE_OUTLIER: [MIDDLE - 1, MIDDLE]}


@pytest.mark.parametrize("at_once", [1, 2])
def test_what_is_found_does_not_depend_on_how_many_rows_are_judged_at_a_time(
    at_once: int, monkeypatch: pytest.MonkeyPatch
):
    rows = market(
        *(times("high", 1.1, row) for row in (40, 60, 80)), *(times("volume", 1000, row) for row in (100, 150))
    )
    monkeypatch.setattr(outliers, "_AT_ONCE", at_once)

    assert flagged(rows) == {DataCode.PRICE_OUTLIER: [40, 60, 80], DataCode.VOLUME_OUTLIER: [100, 150]}


def test_however_many_rows_are_worth_a_look_judging_them_takes_little_more_room_than_they_do():
    rows = market(times("volume", 1000, slice(None, None, 2)), count=100_000)
    tracemalloc.start()

    inspect(rows, MINUTE)

    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 3 * rows.nbytes


@pytest.mark.parametrize("names", [PRICES, "high", "volume", "open high low close volume"])
@pytest.mark.parametrize("rows", [MIDDLE, slice(None, None, 2), slice(0, None)])
def test_numbers_that_are_too_great_to_be_reckoned_with_are_inspected_as_any_others(names: str, rows: int | slice):
    """A warning would tell nobody anything, and fail who takes warnings for errors."""

    def greatest(columns: Columns) -> None:
        for name in names.split():
            columns[name][rows] = np.finfo(np.float64).max

    inspected = inspect(market(greatest), MINUTE)

    assert len(list(inspected.findings())) == sum(map(len, inspected.flagged.values()))


def test_rows_that_lie_in_pieces_are_inspected_as_if_they_lay_in_one():
    rows = market(times(PRICES, 1.2))
    pieces = pa.concat_tables([rows.slice(0, MIDDLE), rows.slice(MIDDLE)])

    assert flagged(pieces) == flagged(rows)
    assert len(timestamps_ms(pieces)) == COUNT
