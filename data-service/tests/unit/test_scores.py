"""Scores are shares of what they are made of, and the worst of them is what counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import quick

from cb_trade_data.quality.codes import DataCode
from cb_trade_data.quality.evidence import Found
from cb_trade_data.quality.scores import Measures, Scores


@st.composite
def some_measures(draw: st.DrawFn) -> Measures:
    expected = draw(st.integers(0, 1_000))
    held = draw(st.integers(0, expected))
    rows = draw(st.integers(0, held))
    outliers = draw(st.integers(0, rows))
    flagged = {DataCode.PRICE_OUTLIER: outliers, DataCode.FLAT_RUN: draw(st.integers(0, rows - outliers))}
    found = draw(st.sampled_from([None, Found(rows, {code: count for code, count in flagged.items() if count})]))
    compared = draw(st.integers(0, 1_000))
    return Measures(expected, held, found, compared, draw(st.integers(0, compared)))


@quick()
@given(some_measures(), st.none() | st.integers(0, 10**9))
def test_a_score_is_between_none_and_all_or_there_is_none(measures, bars_behind):
    scores = Scores.of(measures, bars_behind)

    assert all(score is None or 0 <= score <= 1 for score in scores.by_name.values())


@quick()
@given(some_measures(), st.none() | st.integers(0, 20))
def test_overall_is_the_lowest_and_says_which_it_is(measures, bars_behind):
    scores = Scores.of(measures, bars_behind)

    there = [score for score in scores.by_name.values() if score is not None]
    assert scores.overall == min(there, default=None)
    assert (scores.lowest is None) == (there == [])
    assert scores.lowest is None or scores.by_name[scores.lowest] == scores.overall


@quick()
@given(some_measures(), some_measures(), some_measures())
def test_measures_add_up_in_any_order(one, two, three):
    assert (one + two) + three == one + (two + three)
    assert one + two == two + one
    assert one + Measures() == one


@quick()
@given(some_measures(), some_measures())
def test_scores_of_a_sum_lie_between_those_of_the_parts(one, two):
    for name, score in Scores.of(one + two).by_name.items():
        parts = [Scores.of(each).by_name[name] for each in (one, two)]
        there = [part for part in parts if part is not None]
        if score is not None:
            assert min(there) - 1e-12 <= score <= max(there) + 1e-12


def test_nothing_is_said_of_nothing():
    scores = Scores.of(Measures())

    assert (set(scores.by_name.values()), scores.overall, scores.lowest) == ({None}, None, None)


def test_each_score_is_what_it_says():
    found = Found(80, {DataCode.PRICE_OUTLIER: 6, DataCode.STALE_REPEAT: 2})

    scores = Scores.of(Measures(100, 90, found, compared_bars=50, differing_bars=1), bars_behind=3)

    assert scores == Scores(completeness=0.9, consistency=0.9, freshness=0.7, accuracy=0.98)
    assert (scores.overall, scores.lowest) == (0.7, "freshness")
    assert Measures(100, 90, found).holes == 10


def test_where_nobody_looked_at_the_rows_nothing_is_said_of_them():
    measures = Measures(10, 10, None) + Measures(10, 10, Found(10))

    assert (measures.holes, Scores.of(measures)) == (None, Scores(completeness=1.0))


@pytest.mark.parametrize(
    ("bars_behind", "freshness"), [(0, 1.0), (1, 0.9), (3, 0.7), (9, 0.1), (10, 0.0), (10_000, 0.0)]
)
def test_each_bar_that_is_missing_at_the_end_takes_a_tenth(bars_behind, freshness):
    assert Scores.of(Measures(), bars_behind).freshness == freshness
