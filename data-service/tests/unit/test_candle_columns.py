"""Columns at a time or row by row: what comes out is what CCXT's class reads."""

from __future__ import annotations

import ccxt.async_support as ccxt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import quick

from cb_trade_data.exchange_source.plugins.candle_columns import candle_columns

PRICES = ("open", "high", "low", "close", "volume")
MARKET = {"spot": True, "inverse": False, "type": "spot"}
NUMBERS = ["0.1", "1e-8", "123456789.123456789123456789", "4.35", "9007199254740993", "5e-324"]
# Time, open, high, low, close, volume where each venue puts them, and what else is there.
SHAPES = {
    "binance": lambda t, o, h, low, c, v: [t * 1000, o, h, low, c, v, 0, "9", 8, "7", "6", "0"],
    "bybit": lambda t, o, h, low, c, v: [str(t * 1000), o, h, low, c, v, "9"],
    "coinbase": lambda t, o, h, low, c, v: {"start": str(t), "low": low, "high": h, "open": o, "close": c, "volume": v},
    "coinbaseexchange": lambda t, o, h, low, c, v: [t, float(low), float(h), float(o), float(c), float(v)],
    "cryptocom": lambda t, o, h, low, c, v: {"o": o, "h": h, "l": low, "c": c, "v": v, "t": t * 1000},
    "kraken": lambda t, o, h, low, c, v: [t, o, h, low, c, "9", v, 8],
    "okx": lambda t, o, h, low, c, v: [str(t * 1000), o, h, low, c, v, "9", "8", "1"],
}


def rows_of(table):
    """Return the rows as CCXT would: times in milliseconds, a missing number as None."""
    columns = [
        table.column("timestamp").cast("int64").to_pylist(),
        *(table.column(name).to_pylist() for name in PRICES),
    ]
    return [[None if cell != cell else cell for cell in row] for row in zip(*columns, strict=True)]


def read_by(parse, answer):
    return [list(parse(candle)) for candle in answer]


@pytest.fixture(scope="module", params=SHAPES)
def venue(request):
    exchange = getattr(ccxt, request.param)()
    parsed = []

    def parse(candle):
        parsed.append(candle)
        return exchange.parse_ohlcv(candle, MARKET)

    return SHAPES[request.param], parse, parsed


@quick(100)
@given(prices=st.lists(st.sampled_from(NUMBERS), min_size=5, max_size=5), first=st.integers(1, 3_000_000_000))
def test_every_number_is_the_float_that_python_reads(venue, prices, first):
    shape, parse, parsed = venue
    answer = [shape(first + 60 * place, *prices) for place in range(20)]
    parsed.clear()

    rows = rows_of(candle_columns(answer, parse))

    assert rows == [[(first + 60 * place) * 1000, *map(float, prices)] for place in range(20)]
    assert len(parsed) == 3  # the probe, the first row and the last


def test_newest_first_is_turned_around(venue):
    shape, parse, _ = venue
    answer = [shape(1_600_000_000 + 60 * place, str(place), "9", "0", "1", "7") for place in (3, 2, 1)]

    assert rows_of(candle_columns(answer, parse)) == read_by(parse, answer[::-1])


@pytest.mark.parametrize("oddity", [None, "", "n/a", [], {}])
def test_a_row_that_does_not_fit_is_read_as_ccxt_reads_it(venue, oddity):
    shape, parse, _ = venue
    answer = [shape(1_600_000_000 + place, "1", "2", "0.5", "1.5", "7") for place in range(3)]
    cells = answer[1]
    for cell in list(cells) if isinstance(cells, dict) else range(len(cells)):
        kept, cells[cell] = cells[cell], oddity
        if isinstance(parse(cells)[0], int):
            assert rows_of(candle_columns(answer, parse)) == read_by(parse, answer)
        else:
            with pytest.raises(ValueError, match="without a time"):
                candle_columns(answer, parse)
        cells[cell] = kept


def test_a_row_that_is_too_short_is_read_as_ccxt_reads_it(venue):
    shape, parse, _ = venue
    answer = [shape(1_600_000_000 + place, "1", "2", "0.5", "1.5", "7") for place in range(3)]
    if isinstance(answer[1], list):
        del answer[1][4:]

    assert rows_of(candle_columns(answer, parse)) == read_by(parse, answer)


def test_nothing_is_nothing():
    assert candle_columns([], list).num_rows == 0


@pytest.mark.parametrize("time", [10**19, -(10**19), "10000000000000000000"])
def test_a_time_that_no_column_can_hold_is_no_candle(time):
    def parse(candle):
        return [int(candle[0]), *map(float, candle[1:6])]

    with pytest.raises((ValueError, OverflowError)):
        candle_columns([[time, "1", "2", "3", "4", "5"]], parse)


def test_a_class_that_does_more_than_pick_cells_is_left_to_itself():
    def parse(candle):
        return [int(candle[0]), *(float(cell) * 2 for cell in candle[1:6])]

    assert rows_of(candle_columns([[1, "1", "2", "3", "4", "5"]], parse)) == [[1, 2.0, 4.0, 6.0, 8.0, 10.0]]


def test_a_class_that_reads_later_rows_otherwise_is_left_to_itself():
    def parse(candle):
        return [int(candle[0]), *map(float, candle[5:0:-1] if candle[0] == 3 else candle[1:6])]

    answer = [[time, "1", "2", "3", "4", "5"] for time in (1, 2, 3)]
    assert rows_of(candle_columns(answer, parse))[-1] == [3, 5.0, 4.0, 3.0, 2.0, 1.0]


def test_a_class_that_trips_over_the_probe_is_left_to_itself():
    def parse(candle):
        if int(candle[0]) < 1_000_000:
            raise ValueError("not a time")
        return [int(candle[0]), *map(float, candle[1:6])]

    assert rows_of(candle_columns([[1_000_000, "1", "2", "3", "4", "5"]], parse)) == [
        [1_000_000, 1.0, 2.0, 3.0, 4.0, 5.0]
    ]
