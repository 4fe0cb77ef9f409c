"""What was found in bars adds up by the day, and comes back from storage as it was."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import bars, epoch_ms, minute, minute_bars, quick, utc

from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality import evidence
from cb_trade_data.quality.codes import DataCode
from cb_trade_data.quality.evidence import Found, evidence_of, read_back, unit_of, written
from cb_trade_data.quality.inspection import ODDITIES, Inspection

MINUTE = Timeframe.parse("1m")


def inspection(rows, timeframe: Timeframe = MINUTE, **flagged: list[int]) -> Inspection:
    return Inspection(rows, timeframe, {code: np.array(flagged.get(code.name, []), np.int64) for code in ODDITIES})


def test_rows_and_flags_are_counted_by_the_utc_day():
    opens = [utc("2024-01-01T23:59"), utc("2024-01-02T00:00"), utc("2024-01-02T00:01"), utc("2024-01-04T12:00")]

    found = evidence_of(inspection(bars(opens), PRICE_OUTLIER=[1, 3], FLAT_RUN=[2]))

    assert found == {
        epoch_ms(utc("2024-01-01")): Found(1),
        epoch_ms(utc("2024-01-02")): Found(2, {DataCode.PRICE_OUTLIER: 1, DataCode.FLAT_RUN: 1}),
        epoch_ms(utc("2024-01-04")): Found(1, {DataCode.PRICE_OUTLIER: 1}),
    }


@pytest.mark.parametrize("timeframe", ["1d", "1w", "1M"])
def test_bars_of_a_day_or_longer_are_counted_by_the_utc_year(timeframe):
    opens = [utc("2022-12-01"), utc("2023-01-01"), utc("2023-12-01"), utc("2024-01-01")]

    found = evidence_of(inspection(bars(opens), Timeframe.parse(timeframe), VOLUME_OUTLIER=[0, 3]))

    assert found == {
        epoch_ms(utc("2022-01-01")): Found(1, {DataCode.VOLUME_OUTLIER: 1}),
        epoch_ms(utc("2023-01-01")): Found(2),
        epoch_ms(utc("2024-01-01")): Found(1, {DataCode.VOLUME_OUTLIER: 1}),
    }


def test_no_rows_are_no_evidence():
    assert evidence_of(inspection(minute_bars([]))) == {}


@pytest.mark.parametrize("timeframe", ["1s", "1m", "23h", "1d", "1w", "1M", "1y"])
def test_a_unit_is_a_day_where_bars_are_shorter(timeframe):
    if timeframe == "1y":
        timeframe = "12M"
    is_short = timeframe in {"1s", "1m", "23h"}
    assert str(unit_of(Timeframe.parse(timeframe))) == ("1d" if is_short else "12M")


some_found = st.builds(
    Found, st.integers(0, 100_000), st.dictionaries(st.sampled_from(ODDITIES), st.integers(1, 1_000), max_size=5)
)


@quick()
@given(st.dictionaries(st.integers(0, 2**42), some_found, max_size=40))
def test_evidence_is_read_back_as_it_was_written(found):
    back = read_back(written(found))

    assert back == found
    assert len(back) == len(found)


def test_evidence_by_other_rules_is_none(monkeypatch):
    by_other_rules = written({0: Found(1)})
    monkeypatch.setattr(evidence, "RULES", 10 * evidence.RULES)

    assert read_back(by_other_rules) is None


@quick()
@given(st.data())
def test_evidence_of_parts_adds_up_to_that_of_the_whole(data):
    numbers = data.draw(st.lists(st.integers(0, 5_000), unique=True, max_size=60).map(sorted))
    codes = data.draw(st.lists(st.sampled_from([None, *ODDITIES]), min_size=len(numbers), max_size=len(numbers)))
    cut = data.draw(st.integers(0, len(numbers)))

    flagged = {code.name: [place for place, each in enumerate(codes) if each is code] for code in ODDITIES}
    inspected = inspection(minute_bars(numbers), **flagged)
    times = [minute(number) for number in numbers]

    def found(first: int, end: int) -> Found:
        if first == end:
            return Found()
        part = TimeRange(times[first], times[end - 1] + timedelta(seconds=1))
        return sum(evidence_of(inspected, part).values(), Found())

    whole = found(0, len(numbers))
    assert found(0, cut) + found(cut, len(numbers)) == whole
    assert sum(evidence_of(inspected).values(), Found()) == whole
    assert (whole.rows, whole.flagged_rows) == (len(numbers), sum(code is not None for code in codes))
