"""The averages and their crossings: the same however the bars are cut, and never across a hole."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_times import bars_later
from moving_averages import BUY, SELL, MovingAverages

HOUR_MS = 3_600_000
PRICES = st.floats(min_value=0.001, max_value=1e6)


def opens(count, skipped=()):
    """Return the open times of *count* hourly bars, an hour left out before each position in *skipped*."""
    steps = np.ones(count, np.int64)
    steps[list(skipped)] = 2
    return np.cumsum(steps) * HOUR_MS


def in_pieces(averages, opens_ms, closes, cuts):
    edges = [0, *sorted(cuts), len(closes)]
    pieces = [averages.add(opens_ms[start:end], closes[start:end]) for start, end in pairwise(edges)]
    return [
        np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("fast", "slow", "signals", "after_hole")
    ]


@st.composite
def markets(draw):
    closes = np.array(draw(st.lists(PRICES, max_size=60)))
    skipped = draw(st.sets(st.integers(1, len(closes) - 1))) if len(closes) > 1 else set()
    cuts = draw(st.lists(st.integers(0, len(closes))))
    fast_bars = draw(st.integers(1, 8))
    return opens(len(closes), skipped), closes, cuts, fast_bars, fast_bars + draw(st.integers(1, 8))


@settings(max_examples=200, deadline=None)
@given(markets())
def test_it_does_not_matter_how_the_bars_are_cut(market):
    opens_ms, closes, cuts, fast_bars, slow_bars = market

    whole = in_pieces(MovingAverages(fast_bars, slow_bars, "1h"), opens_ms, closes, [])
    pieces = in_pieces(MovingAverages(fast_bars, slow_bars, "1h"), opens_ms, closes, cuts)

    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)  # bit for bit


@settings(max_examples=200, deadline=None)
@given(markets())
def test_each_average_and_each_signal_is_what_its_definition_says(market):
    opens_ms, closes, _, fast_bars, slow_bars = market

    fast, slow, signals, after_hole = in_pieces(MovingAverages(fast_bars, slow_bars, "1h"), opens_ms, closes, [])

    unbroken: list[float] = []
    was_above = None
    for bar, close in enumerate(closes):
        is_after_hole = bar > 0 and opens_ms[bar] != opens_ms[bar - 1] + HOUR_MS
        if is_after_hole:
            unbroken, was_above = [], None
        unbroken.append(close)
        means = [
            sum(unbroken[-bars:]) / bars if len(unbroken) >= bars else float("nan") for bars in (fast_bars, slow_bars)
        ]
        is_above = means[0] > means[1] if len(unbroken) >= slow_bars else None
        changed = was_above is not None and is_above != was_above
        was_above = is_above
        assert [fast[bar], slow[bar]] == pytest.approx(means, rel=1e-12, nan_ok=True)
        assert after_hole[bar] == is_after_hole
        assert signals[bar] == ((BUY if is_above else SELL) if changed else 0)


def test_a_rise_is_a_signal_to_buy_and_a_fall_one_to_sell():
    closes = np.array([10.0, 10, 10, 13, 13, 13, 7, 7])

    assert MovingAverages(1, 3, "1h").add(opens(8), closes).signals.tolist() == [0, 0, 0, BUY, 0, SELL, 0, 0]


def test_nothing_is_signalled_across_a_hole():
    closes = np.array([10.0, 10, 10, 13, 13, 13, 13])

    told = MovingAverages(1, 3, "1h").add(opens(7, skipped=[3]), closes)

    assert np.isnan(told.slow).tolist() == [True, True, False, True, True, False, False]
    assert told.signals.tolist() == [0] * 7


def test_no_more_closes_are_kept_than_the_slow_average_needs():
    averages = MovingAverages(2, 5, "1h")
    averages.add(opens(10_000), np.ones(10_000))

    assert averages._closes.base is None
    assert len(averages._closes) == 4


@pytest.mark.parametrize(("fast_bars", "slow_bars"), [(0, 5), (5, 5), (6, 5)])
def test_averages_that_cannot_cross_are_refused(fast_bars, slow_bars):
    with pytest.raises(ValueError, match="shorter"):
        MovingAverages(fast_bars, slow_bars, "1h")


@pytest.mark.parametrize(
    ("timeframe", "bars", "expected"),
    [
        ("1m", 1, "2024-01-31T00:01"),
        ("15m", -2, "2024-01-30T23:30"),
        ("1d", 30, "2024-03-01T00:00"),
        ("1w", 1, "2024-02-07T00:00"),
    ],
)
def test_bars_are_counted_by_the_clock(timeframe, bars, expected):
    later_ms = bars_later(np.array([np.datetime64("2024-01-31T00:00", "ms")]).astype(np.int64), timeframe, bars)

    assert later_ms.astype("datetime64[ms]").astype("datetime64[m]").astype(str).tolist() == [expected]


def test_months_are_counted_by_the_calendar():
    opens_ms = np.array(["2023-12-01", "2024-02-01"], "datetime64[ms]").astype(np.int64)

    later_ms = bars_later(opens_ms, "1M", 1)

    assert later_ms.astype("datetime64[ms]").astype("datetime64[D]").astype(str).tolist() == [
        "2024-01-01",
        "2024-03-01",
    ]


@pytest.mark.parametrize("text", ["", "m", "0m", "1", "1y", "-1m", "1.5h"])
def test_what_is_no_timeframe_is_refused(text):
    with pytest.raises(ValueError, match="no timeframe"):
        bars_later(np.zeros(1, np.int64), text)
