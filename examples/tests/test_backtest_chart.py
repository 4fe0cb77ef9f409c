"""The sketch a chart is drawn from is small, and the chart shows what is missing."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from backtest import Backtest
from backtest_chart import HEIGHT_PIXELS, WIDTH_PIXELS, Sketch, draw
from cb_trade_client import CoverageSegment

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR_MS = 3_600_000
MISTYROSE = (255, 228, 225)
GREY = (217, 217, 217)


def at(hour):
    return START + timedelta(hours=hour)


def bars(hours):
    """Return the hourly bars of those hours of 2024, going up and down."""
    hours = np.array(hours, np.int64)
    times = pa.array(hours * HOUR_MS + int(START.timestamp()) * 1000).cast(pa.timestamp("ms", tz="UTC"))
    prices = 100 + 10 * np.sin(hours / 20)
    return pa.record_batch({"timestamp": times, "open": pa.array(prices), "close": pa.array(prices)})


def sketched(batch, end, batch_rows):
    test, sketch = Backtest(3, 9, "1h", 0.001), Sketch(START, at(end), "1h")
    for start in range(0, batch.num_rows, batch_rows):
        sketch.add(test.add(batch.slice(start, batch_rows)))
    return test, sketch


def colours_of(tmp_path, batch, end, gaps=()):
    test, sketch = sketched(batch, end, 100)
    draw(
        tmp_path / "chart.png", "A title", (3, 9), {"BTC/USDT": sketch}, {"BTC/USDT": test.result()}, {"BTC/USDT": gaps}
    )
    with Image.open(tmp_path / "chart.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (WIDTH_PIXELS, HEIGHT_PIXELS))
        return {colour: count for count, colour in picture.convert("RGB").getcolors(WIDTH_PIXELS * HEIGHT_PIXELS)}


@pytest.mark.parametrize("batch_rows", [1, 7, 100])
def test_a_sketch_does_not_depend_on_how_the_bars_are_cut(batch_rows):
    batch = bars([hour for hour in range(3000) if not 700 <= hour < 900])

    _, whole = sketched(batch, 3000, 3000)
    _, pieces = sketched(batch, 3000, batch_rows)

    for name in ("close", "fast", "slow", "equity"):
        np.testing.assert_array_equal(pieces.line(name), whole.line(name))
    for side in (1, -1):
        np.testing.assert_array_equal(pieces.trades(side), whole.trades(side))
    assert pieces.holes() == whole.holes()


def test_a_sketch_does_not_grow_with_the_number_of_bars():
    sizes = [len(sketched(bars(range(hours)), hours, 5000)[1].line("close")[0]) for hours in (2000, 50_000)]

    assert sizes[0] == sizes[1] == 1200


def test_what_is_missing_at_the_edges_and_in_the_middle_is_a_hole():
    _, sketch = sketched(bars([*range(10, 50), *range(60, 90)]), 100, 100)

    spans = [(at(0), at(10)), (at(50), at(60)), (at(90), at(100))]
    assert sketch.holes() == [(int(start.timestamp()) * 1000, int(end.timestamp()) * 1000) for start, end in spans]


def test_a_line_is_interrupted_where_there_are_no_bars():
    _, sketch = sketched(bars([*range(50), *range(60, 100)]), 100, 100)

    _, closes = sketch.line("close")

    assert np.flatnonzero(np.isnan(closes)).tolist() == [50]


def test_where_nothing_is_missing_nothing_is_shaded(tmp_path):
    colours = colours_of(tmp_path, bars(range(400)), 400)

    assert len(colours) > 50  # not blank
    assert colours.get(MISTYROSE, 0) == 0
    assert colours.get(GREY, 0) < 1000


def test_a_gap_is_red_and_a_market_at_rest_grey(tmp_path):
    batch = bars([hour for hour in range(400) if not 100 <= hour < 150 and not 200 <= hour < 250])

    without = colours_of(tmp_path, batch, 400)
    gap = CoverageSegment(at(100), at(150), "failed", "HTTP 503")
    colours = colours_of(tmp_path, batch, 400, [gap])

    assert MISTYROSE not in without
    assert colours[MISTYROSE] > 10_000
    assert without[GREY] > 1.5 * colours[GREY] > 10_000


def test_a_gap_of_one_bar_in_a_long_range_can_be_seen(tmp_path):
    colours = colours_of(tmp_path, bars(range(50_000)), 50_000, [CoverageSegment(at(7), at(8), "failed", None)])

    assert colours.get(MISTYROSE, 0) > 100


def test_a_symbol_without_bars_is_drawn_all_the_same(tmp_path):
    assert colours_of(tmp_path, bars([]), 100)[GREY] > 100_000
