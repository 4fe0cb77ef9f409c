"""Answers that real exchanges gave, replayed byte for byte: exactly the recorded bars come out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ccxt_venues import FACTS, Venue, running_venue
from service_harness import at

from cb_trade_data.models.instants import to_ms
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.models.time_range import TimeRange
from cb_trade_simulator.faults import BodyFault

RECORDINGS = Path(__file__).parents[4] / "shared" / "data"
HOUR_MS = 3_600_000
OUTAGE = [to_ms(at(f"2020-06-28T0{hour}:00")) for hour in (2, 3, 4)]


def recorded(name: str) -> Any:
    file = RECORDINGS / name
    if not file.exists():
        pytest.skip(f"{file} is not here")
    return json.loads(file.read_bytes())


def binance_hours() -> list[list[Any]]:
    """The two pages of hours around the outage of June 2020, as they came."""
    answers = recorded("binance_recorded_responses.json")["routes"]["/api/v3/klines"]["GET"]
    pages = [answer["data"] for answer in answers if "interval=1h" in answer["queryString"]]
    return sorted(pages, key=lambda page: page[0][0])[:2]


async def replayed(venue: Venue, symbol: str, timeframe: str, body: Any, start: datetime, end: datetime) -> list[Any]:
    """Return the rows that come out where the exchange answers with *body*; in the order in which they do."""
    venue.simulator.inject(BodyFault(json.dumps(body)), times=1)
    page = await venue.client.fetch_ohlcv(venue.series(symbol, timeframe), TimeRange(start, end))
    assert page.rows.schema == OHLCV_SCHEMA
    times, *numbers = (column.to_numpy() for column in page.rows.columns)
    return list(zip(times.view(np.int64).tolist(), *(column.tolist() for column in numbers), strict=True))


@pytest.fixture
async def binance() -> AsyncIterator[Venue]:
    async with running_venue(FACTS["binance"]) as venue:
        yield venue


async def test_binances_outage_of_june_2020_is_a_hole_between_exactly_the_recorded_bars(binance: Venue):
    first, second = binance_hours()
    borders = [at("2020-04-30T21:00"), at("2020-06-11T13:00"), at("2020-07-01T04:00")]

    rows = [
        *await replayed(binance, "BTC/USDT", "1h", first, borders[0], borders[1]),
        *await replayed(binance, "BTC/USDT", "1h", second, borders[1], borders[2]),
    ]

    assert rows == [(row[0], *map(float, row[1:6])) for row in [*first, *second]]
    missing = set(range(to_ms(borders[0]), to_ms(borders[2]), HOUR_MS)) - {row[0] for row in rows}
    assert sorted(missing) == OUTAGE


async def test_binance_is_asked_with_the_times_of_the_recorded_questions(binance: Venue):
    """But for the end, which the recorder took for exclusive: it is one bar too late there."""
    first, second = binance_hours()
    await replayed(binance, "BTC/USDT", "1h", first, at("2020-04-30T21:00"), at("2020-06-11T13:00"))
    await replayed(binance, "BTC/USDT", "1h", second, at("2020-06-11T13:00"), at("2020-07-01T04:00"))

    asked = [(query["startTime"], query["endTime"]) for query in binance.simulator.calls.queries("klines")]
    assert asked == [("1588280400000", "1591880399999"), ("1591880400000", "1593575999999")]


async def test_krakens_answer_comes_out_bar_by_bar_its_open_last_row_included():
    """To drop that row is the validation's task: it knows the exchange's clock."""
    body = recorded("kraken_ohlc_response.json")
    bars = body["result"]["XXBTZUSD"]
    start, end = (datetime.fromtimestamp(bars[place][0], tz=at("2017-01-01").tzinfo) for place in (0, -1))
    async with running_venue(FACTS["kraken"], at("2017-08-18")) as venue:
        rows = await replayed(venue, "BTC/USD", "1m", body, start, end)

    assert rows == [(bar[0] * 1000, *map(float, [*bar[1:5], bar[6]])) for bar in bars]
    assert len(rows) == 720
    assert sum(row[5] == 0 for row in rows) == 17
