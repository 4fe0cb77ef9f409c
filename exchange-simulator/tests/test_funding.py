"""A perpetual's funding by itself: when it is paid, and how it follows from the seed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from cb_trade_simulator import ExchangeSimulator, ManualClock, UnknownSymbolError
from cb_trade_simulator.clock import HOUR_MS, to_milliseconds
from cb_trade_simulator.faults import Delisting, Relisting
from cb_trade_simulator.venues.binance import Binance
from cb_trade_simulator.venues.decimals import decimals

from .conftest import NOW

BTC, SOL = "BTC/USDT:USDT", "SOL/USDT:USDT"
EVER = (datetime(2010, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))


@pytest.fixture
def binance(clock: ManualClock) -> ExchangeSimulator:
    return ExchangeSimulator("binance", clock=clock)


def hours(rows: np.ndarray) -> list[int]:
    return (rows["timestamp"] // HOUR_MS).tolist()


def test_it_is_paid_every_eight_hours_from_after_the_listing_up_to_now(binance):
    rows = binance.funding(BTC, *EVER)

    listed = to_milliseconds(binance.listed_at(BTC)) // HOUR_MS
    now = to_milliseconds(NOW) // HOUR_MS
    assert hours(rows) == [hour for hour in range(listed + 1, now + 1) if hour % 8 == 0]
    assert set(np.unique(rows["timestamp"] % HOUR_MS).tolist()) == set(range(16))


def test_none_is_paid_at_the_instant_of_the_listing(binance):
    """The market is listed at 08:00 sharp."""
    first = binance.funding(SOL, *EVER)["timestamp"][0]

    assert first // HOUR_MS == to_milliseconds(binance.listed_at(SOL)) // HOUR_MS + 8


def test_one_market_changes_from_eight_hours_to_four(binance):
    change = datetime(2023, 4, 1, tzinfo=UTC)

    rows = binance.funding(SOL, change - timedelta(days=2), change + timedelta(days=2))

    at = to_milliseconds(change) // HOUR_MS
    assert hours(rows) == [*range(at - 48, at, 8), *range(at, at + 48, 4)]


def test_it_goes_on_while_the_venue_stands_still(binance):
    outage = max(Binance.outages, key=lambda each: each.end - each.start if each.start.year > 2019 else timedelta(0))
    around = (outage.start - timedelta(hours=20), outage.end + timedelta(hours=20))

    assert set(np.diff(hours(binance.funding(BTC, *around)))) == {8}


def test_it_ends_with_the_market_and_begins_again_with_another_of_its_name(binance):
    end, begin = datetime(2023, 6, 1, 16, 0, tzinfo=UTC), datetime(2023, 7, 1, tzinfo=UTC)
    before = binance.funding(SOL, *EVER)

    binance.inject(Delisting(SOL, end))
    ended = binance.funding(SOL, *EVER)
    binance.inject(Relisting(SOL, end, begin))
    again = binance.funding(SOL, *EVER)

    assert ended.tolist() == before[before["timestamp"] < to_milliseconds(end)].tolist()
    assert again[: len(ended)].tolist() == ended.tolist()
    assert hours(again)[len(ended)] == to_milliseconds(begin) // HOUR_MS + 4
    assert set(again["rate"][len(ended) :].tolist()) != set(before["rate"][len(ended) :].tolist())


def test_the_same_seed_gives_the_same_rates_and_another_seed_others(clock):
    one, same, other = (ExchangeSimulator(seed=seed, clock=clock).funding(BTC, *EVER) for seed in (1, 1, 2))

    assert one.tolist() == same.tolist()
    assert one["rate"].tolist() != other["rate"].tolist()
    assert 0.3 < (one["rate"] == 1e-4).mean() < 0.9  # most of the time just the interest
    assert one["rate"].min() < 0 < one["rate"].max() < 0.003


def test_the_mark_price_is_near_the_market(binance):
    rows = binance.funding(BTC, datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 2, 1, tzinfo=UTC))
    candles = binance.candles(BTC, "8h", datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 2, 1, tzinfo=UTC))

    assert abs(rows["mark_price"] / candles["open"] - 1).max() < 0.1
    assert rows["mark_price"][::3] == pytest.approx(candles["open"][::3], rel=0.01)  # at midnight


def test_a_span_includes_its_start_and_excludes_its_end_and_the_clock(binance, clock):
    rows = binance.funding(BTC, *EVER)
    at = datetime.fromtimestamp(int(rows["timestamp"][-1]) / 1000, UTC)
    one = timedelta(milliseconds=1)

    assert len(binance.funding(BTC, at, at + one)) == 1
    assert len(binance.funding(BTC, at + one, at + 2 * one)) == 0
    assert len(binance.funding(BTC, at - one, at)) == 0
    clock.set(at)
    assert len(binance.funding(BTC, *EVER)) == len(rows)
    clock.set(at - one)
    assert len(binance.funding(BTC, *EVER)) == len(rows) - 1


def test_only_perpetuals_have_it(binance):
    for symbol in ("BTC/USDT", "NO/PE"):
        with pytest.raises(UnknownSymbolError, match=BTC):
            binance.funding(symbol, *EVER)
        with pytest.raises(UnknownSymbolError):
            binance.replay_funding(symbol, [], [])


def test_recorded_rows_are_told_as_given_but_in_order(binance):
    binance.replay_funding(BTC, [3000, 1000, 3000, 2000], [0.3, 0.1, 7.52886032957e-05, -0.2])

    rows = binance.funding(BTC, *EVER)
    assert len(rows) == 0  # all of them were paid in 1970
    rows = binance.funding(BTC, datetime(1970, 1, 1, tzinfo=UTC), EVER[1])
    assert rows["timestamp"].tolist() == [1000, 2000, 3000, 3000]
    assert rows["rate"].tolist() == [0.1, -0.2, 0.3, 7.52886032957e-05]
    with pytest.raises(ValueError, match="2 times, but 1 values of rate"):
        binance.replay_funding(BTC, [1, 2], [0.1])


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (7.52886032957e-05, 0, "0.0000752886032957"),
        (0.0001, 8, "0.00010000"),
        (-0.0375, 8, "-0.03750000"),
        (34287.54619963, 8, "34287.54619963"),
        (0.0001521422572668, 8, "0.0001521422572668"),
        (0.0, 0, "0"),
        (2.0, 0, "2"),
    ],
)
def test_numbers_are_written_without_an_exponent_and_read_back_the_same(value, places, text):
    assert decimals(value, places) == text
    assert float(text) == value
