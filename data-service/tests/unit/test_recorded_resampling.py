"""Bars of real exchanges put together: no recording has all the parts of a longer bar of the same exchange beside it.

So an exchange's own longer bars are held against what is recorded of their parts; and steps against one step.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pyarrow as pa
import pytest
from unit_builders import assert_same_rows, epoch_ms, span, table, utc

from cb_trade_data.historical.rebuilding import folded
from cb_trade_data.historical.views.derivation import Derivation
from cb_trade_data.models.market import slice_range
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State

FOLDER = Path(__file__).parents[4] / "shared" / "data"
BINANCE, BYBIT = FOLDER / "binance_recorded_responses.json", FOLDER / "bybit_ETHUSDT_spot_1h.csv"

pytestmark = pytest.mark.skipif(
    not (BINANCE.exists() and BYBIT.exists()), reason="what was recorded is no part of the project, and not at hand"
)


def recorded_of_binance() -> Iterator[tuple[Timeframe, pa.Table]]:
    """Yield each recorded page of BTC/USDT with the length of its bars."""
    for answer in json.loads(BINANCE.read_text())["routes"]["/api/v3/klines"]["GET"]:
        query = parse_qs(answer["queryString"])
        if query["symbol"] == ["BTCUSDT"]:
            yield (
                Timeframe.parse(query["interval"][0]),
                table([(row[0], *map(float, row[1:6])) for row in answer["data"]]),
            )


def hours_of_binance() -> pa.Table:
    pages = [rows for timeframe, rows in recorded_of_binance() if str(timeframe) == "1h" and rows.num_rows > 200]
    rows: dict[int, tuple[Any, ...]] = {}
    for page in pages:
        rows |= {epoch_ms(row["timestamp"]): tuple(row.values())[1:] for row in page.to_pylist()}
    return table([(time, *values) for time, values in sorted(rows.items())])


def hours_of_bybit() -> pa.Table:
    with BYBIT.open() as file:
        rows = {
            epoch_ms(datetime.fromisoformat(row["timestamp"])): [
                float(row[name]) for name in ("open", "high", "low", "close", "volume")
            ]
            for row in csv.DictReader(file)
        }
    return table([(time, *values) for time, values in sorted(rows.items())])


@pytest.mark.parametrize("hours", [hours_of_binance, hours_of_bybit])
@pytest.mark.parametrize(("step", "timeframe"), [("4h", "1d"), ("2h", "4h"), ("1d", "1w"), ("1d", "1M"), ("1M", "3M")])
def test_real_hours_make_the_same_bars_in_one_step_or_in_two(hours, step, timeframe):
    rows = hours()

    at_once = folded(rows, Timeframe.parse(timeframe))
    in_steps = folded(folded(rows, Timeframe.parse(step)), Timeframe.parse(timeframe))

    assert_same_rows(in_steps.drop(["volume"]), at_once.drop(["volume"]))
    np.testing.assert_allclose(in_steps["volume"].to_numpy(), at_once["volume"].to_numpy(), rtol=1e-12)


def test_an_outage_of_three_hours_that_is_known_leaves_no_gap_in_bars_of_four():
    """Binance's of 2020-06-28, from two to five: both bars have an hour or more."""
    june = span("2020-06-01", "2020-07-01")
    hours = slice_range(hours_of_binance(), june)
    derivation = Derivation(Timeframe.parse("4h"), june)
    derivation.see([Segment(june, State.HELD)], [])

    made = derivation.add(hours)

    assert hours.num_rows == 30 * 24 - 3
    assert made.num_rows == 30 * 6
    day = {row["timestamp"]: row["volume"] for row in slice_range(hours, span("2020-06-28", "2020-06-29")).to_pylist()}
    volumes = dict(zip(made["timestamp"].to_pylist(), made["volume"].to_pylist(), strict=True))
    assert volumes[utc("2020-06-28")] == day[utc("2020-06-28")] + day[utc("2020-06-28T01:00")]


def test_binances_own_longer_bars_agree_with_what_is_recorded_of_their_parts():
    compared = 0
    for (length, bars), (part_length, parts) in product(list(recorded_of_binance()), repeat=2):
        if not length.is_made_of(part_length):
            continue
        own = {row["timestamp"]: row for row in bars.to_pylist()}
        firsts = {row["timestamp"]: row["open"] for row in parts.to_pylist()}
        for made in folded(parts, length).to_pylist():
            open_time = made["timestamp"]
            if open_time not in own:
                continue
            whole = own[open_time]
            compared += 1
            assert whole["low"] <= made["low"]
            assert made["high"] <= whole["high"]
            assert made["volume"] <= whole["volume"]
            if open_time in firsts:
                assert made["open"] == whole["open"]
    assert compared >= 4
