"""The account: what its rules say, the same however the bars are cut."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from crossover_reference import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest import Backtest

HOUR_MS = 3_600_000
FEE = 0.001


def batch_of(opens, closes, skipped=()):
    """Return hourly bars, an hour left out before each position in *skipped*."""
    steps = np.ones(len(opens), np.int64)
    steps[list(skipped)] = 2
    times = pa.array(np.cumsum(steps) * HOUR_MS).cast(pa.timestamp("ms", tz="UTC"))
    return pa.record_batch({"timestamp": times, "open": np.array(opens, float), "close": np.array(closes, float)})


def run(batch, cuts=(), fast_bars=1, slow_bars=3, fee=FEE):
    test = Backtest(fast_bars, slow_bars, "1h", fee)
    edges = [0, *sorted(cuts), batch.num_rows]
    steps = [test.add(batch.slice(start, end - start)) for start, end in pairwise(edges)]
    return test.result(), np.concatenate([step.equity for step in steps]), np.concatenate([s.trades for s in steps])


@st.composite
def markets(draw):
    prices = st.floats(min_value=1, max_value=1000)
    bars = draw(st.lists(st.tuples(prices, prices), min_size=1, max_size=60))
    skipped = draw(st.sets(st.integers(1, len(bars) - 1), max_size=4)) if len(bars) > 1 else set()
    fast_bars = draw(st.integers(1, 4))
    averages = (fast_bars, fast_bars + draw(st.integers(1, 4)))
    return batch_of(*zip(*bars, strict=True), skipped), draw(st.lists(st.integers(0, len(bars)))), averages


@settings(max_examples=200, deadline=None)
@given(markets())
def test_it_does_not_matter_how_the_bars_are_cut(market):
    batch, cuts, averages = market

    whole, equity, trades = run(batch, (), *averages)
    pieces, equity_of_pieces, trades_of_pieces = run(batch, cuts, *averages)

    assert pieces == whole  # bit for bit
    assert equity_of_pieces.tolist() == equity.tolist()
    assert trades_of_pieces.tolist() == trades.tolist()


@settings(max_examples=200, deadline=None)
@given(markets())
def test_the_account_is_what_the_rules_say_bar_by_bar(market):
    batch, _, (fast_bars, slow_bars) = market

    result, equity, trades = run(batch, (), fast_bars, slow_bars)

    columns = batch.set_column(0, "timestamp", batch["timestamp"].cast(pa.int64())).to_pydict().values()
    expected = reference(*columns, step_ms=HOUR_MS, fast_bars=fast_bars, slow_bars=slow_bars, fee=FEE)
    assert [(bar, side) for bar, side in enumerate(trades.tolist()) if side] == expected.trades
    assert equity.tolist() == pytest.approx(expected.equity)
    assert (result.bars, result.buys, result.sells) == (batch.num_rows, expected.buys, expected.sells)
    assert result.total_return == pytest.approx(expected.total_return)
    assert result.buy_and_hold == pytest.approx(expected.buy_and_hold)
    assert result.max_drawdown == pytest.approx(expected.max_drawdown)


def test_a_signal_is_acted_upon_at_the_next_open_and_not_before():
    closes = [10, 10, 10, 13, 13, 13]
    opens = [10, 10, 10, 10, 12, 13]

    result, _, trades = run(batch_of(opens, closes), fee=0)

    assert trades.tolist() == [0, 0, 0, 0, 1, 0]
    assert result.total_return == pytest.approx(13 / 12 - 1)


def test_a_signal_at_the_very_end_buys_nothing():
    result, _, _ = run(batch_of([10] * 4, [10, 10, 10, 13]))

    assert (result.buys, result.total_return) == (0, 0)


def test_each_purchase_and_each_sale_costs_the_fee():
    result, _, trades = run(batch_of([10] * 8, [10, 10, 10, 11, 10, 10, 9, 9]), fee=0.01)

    assert trades.tolist() == [0, 0, 0, 0, 1, -1, 0, 0]
    assert result.total_return == pytest.approx(0.99 * 0.99 - 1)


def test_after_a_hole_everything_is_sold_at_the_first_open():
    closes = [10, 10, 10, 13, 13, 20, 20]
    opens = [10, 10, 10, 10, 13, 18, 20]

    result, _, trades = run(batch_of(opens, closes, skipped=[5]), fee=0)

    assert trades.tolist() == [0, 0, 0, 0, 1, -1, 0]
    assert result.total_return == pytest.approx(18 / 13 - 1)


def test_a_signal_just_before_a_hole_is_forgotten():
    result, _, _ = run(batch_of([10] * 6, [10, 10, 10, 13, 13, 13], skipped=[4]))

    assert result.buys == 0


def test_without_bars_nothing_is_gained_and_nothing_lost():
    result = Backtest(1, 3, "1h", FEE).result()

    assert (result.bars, result.total_return, result.buy_and_hold, result.max_drawdown) == (0, 0, 0, 0)


def test_a_fee_that_is_no_share_is_refused():
    with pytest.raises(ValueError, match="share"):
        Backtest(1, 3, "1h", 1.0)
