from __future__ import annotations

from datetime import timedelta

import pytest
from service_harness import at

from cb_trade_data.exchange_source.facts import Bounds, Pace, TimeUnit
from cb_trade_data.exchange_source.plugins.exchanges import EXCHANGES
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

WINDOW = TimeRange(at("2024-01-01"), at("2024-02-01"))
# How many pages each exchange allows in how many seconds, by its documentation.
LIMITS = {
    "binance": (3000, 60),
    "bybit": (600, 5),
    "coinbase": (10, 1),
    "coinbaseexchange": (15, 1),
    "cryptocom": (100, 1),
    "kraken": (10, 1),
    "okx": (20, 2),
}
SUSTAINED = {"coinbaseexchange": 10, "kraken": 1}


@pytest.mark.parametrize(
    ("bounds", "written"),
    [
        (Bounds("a", "b"), {"a": 1704067200000, "b": 1706745600000}),
        (Bounds("a", None, unit=TimeUnit.SECONDS), {"a": 1704067200}),
        (Bounds("a", "b", unit=TimeUnit.ISO), {"a": "2024-01-01T00:00:00Z", "b": "2024-02-01T00:00:00Z"}),
        (
            Bounds("a", "b", "n", start_step=-timedelta(milliseconds=1), end_step=-timedelta(milliseconds=1)),
            {"a": 1704067199999, "b": 1706745599999, "n": 31},
        ),
    ],
)
def test_a_window_is_written_in_the_exchanges_own_parameters(bounds, written):
    assert bounds.parameters(WINDOW, 31) == written


@pytest.mark.parametrize("facts", EXCHANGES, ids=lambda facts: facts.id)
def test_a_pace_uses_what_is_allowed_and_never_more(facts):
    calls, secs = LIMITS[facts.id]
    sustained = SUSTAINED.get(facts.id, calls / secs)

    assert 0.95 * sustained < facts.pace.calls_per_sec < sustained
    assert int(facts.pace.burst + facts.pace.calls_per_sec * secs) <= calls


@pytest.mark.parametrize("facts", EXCHANGES, ids=lambda facts: facts.id)
def test_timeframes_are_told_from_the_shortest(facts):
    grids = [Timeframe.parse(name) for name in facts.timeframes]

    assert grids == sorted(grids, key=lambda grid: grid.duration_ms)
    assert len({grid.duration_ms for grid in grids}) == len(grids)


@pytest.mark.parametrize(("calls_per_sec", "burst"), [(0.5, 1), (3.9, 3), (1000, 80)])
def test_a_pace_can_be_set_to_another_rate(calls_per_sec, burst):
    pace = Pace(2910, timedelta(minutes=1), burst=80).at(calls_per_sec)

    assert pace.calls_per_sec == pytest.approx(calls_per_sec)
    assert pace.burst == burst


def test_a_part_of_a_pace_has_that_part_of_its_rate_and_of_its_burst():
    part = Pace(1200, timedelta(minutes=1), 50).part(0.25)

    assert (part.calls_per_sec, part.burst) == (5.0, 12)
    assert Pace(2, timedelta(seconds=1)).part(0.1) == Pace(2, timedelta(seconds=10), 1)
