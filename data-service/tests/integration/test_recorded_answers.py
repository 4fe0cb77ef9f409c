"""Answers that real exchanges gave, replayed through plugin, service and wire: exactly the recorded bars come.

What is asked for decides what is answered: where a question can say which rows it wants, it gets no others. Every
recorded answer with candles of a series that we serve. Those with trades, markets, funding rates and order books wait
for the issues that bring these, as do Binance's coin-margined futures.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import numpy as np
import pytest
from service_harness import Reply, at, ms, running_service, token
from venues import Venue, ask, opens, pages_for, some, states

from cb_trade_data.models.timeframe import Timeframe
from cb_trade_simulator import ExchangeSimulator, ManualClock
from cb_trade_simulator.faults.kinds import Asked
from cb_trade_simulator.markets.catalogue import SPOT
from cb_trade_simulator.venues.venue import Answer

FOLDER = Path(__file__).parents[4] / "shared" / "data"
BINANCE, KRAKEN = FOLDER / "binance_recorded_responses.json", FOLDER / "kraken_ohlc_response.json"
SYMBOLS = {"BTCUSDT": "BTC/USDT", "ETHBTC": "ETH/BTC", "LTCUSDT": "LTC/USDT"}
OUTAGE = at("2020-06-28T02:00"), at("2020-06-28T05:00")  # of Binance's


@dataclass(frozen=True)
class Recording:
    """An answer, and the rows in it: oldest first, in the form in which they are to come out."""

    venue: Venue
    symbol: str
    timeframe: str
    body: Any
    rows: list[tuple[float, ...]]

    async def answer(self, _venue_answer: Callable[[], Awaitable[Answer]], asked: Asked, /) -> Answer:
        """Be the answer to a question, as a fault of the simulator: Binance's in part, Kraken's whole."""
        body = self.body
        if self.venue.name == "binance":
            query = asked.question.query
            assert query["interval"] == self.timeframe
            first_ms, last_ms = int(query["startTime"]), int(query["endTime"])
            body = [row for row in body if first_ms <= row[0] <= last_ms][: int(query["limit"])]
        return Answer(json.dumps(body).encode())

    @property
    def start(self) -> datetime:
        return datetime.fromtimestamp(self.rows[0][0] / 1000, UTC)

    @property
    def last(self) -> datetime:
        """When the last bar opened."""
        return datetime.fromtimestamp(self.rows[-1][0] / 1000, UTC)

    @property
    def end(self) -> datetime:
        return Timeframe.parse(self.timeframe).advance(self.last, 1)


def recordings() -> Iterator[Any]:
    if not (BINANCE.exists() and KRAKEN.exists()):
        yield pytest.param(None, marks=pytest.mark.skip("what was recorded is no part of the project, and not at hand"))
        return
    routes = json.loads(BINANCE.read_text())["routes"]
    hours: list[Recording] = []
    for path, settled in (("/api/v3/klines", ""), ("/fapi/v1/klines", ":USDT")):
        for number, answer in enumerate(routes[path]["GET"]):
            query = parse_qs(answer["queryString"])
            symbol, timeframe = SYMBOLS[query["symbol"][0]] + settled, query["interval"][0]
            rows = [(row[0], *map(float, row[1:6])) for row in answer["data"]]
            recording = Recording(some("binance")[0], symbol, timeframe, answer["data"], rows)
            yield pytest.param(recording, id=f"binance-{symbol}-{timeframe}-{number}")
            if symbol == "BTC/USDT" and timeframe == "1h":
                hours.append(recording)
    first, second = hours[:2]  # which follow each other, with the outage in the second one
    whole = replace(first, body=first.body + second.body, rows=first.rows + second.rows)
    yield pytest.param(whole, id="binance-BTC/USDT-1h-two pages")
    body = json.loads(KRAKEN.read_text())
    rows = [(row[0] * 1000, *map(float, [*row[1:5], row[6]])) for row in body["result"]["XXBTZUSD"]]
    yield pytest.param(Recording(some("kraken")[0], "BTC/USD", "1m", body, rows), id="kraken-BTC/USD-1m")


@pytest.mark.parametrize("recording", list(recordings()))
async def test_a_recorded_answer_is_delivered_as_it_is_without_its_open_row(recording: Recording, tmp_path):
    """Which comes later, when it is closed. The one hole in all of them is genuine: Binance's outage of June 2020."""
    venue, start, last, end = recording.venue, recording.start, recording.last, recording.end
    clock = ManualClock(last + (end - last) / 2)
    market = replace(SPOT[0], symbol=recording.symbol, listed=at("2017-01-01"))
    async with ExchangeSimulator(venue.name, clock=clock, markets=[market]).serve() as simulator:
        simulator.inject(recording, times=None)

        async def asked(until: datetime) -> tuple[Reply, int]:
            """Return the answer of a service that has just begun, up to *until*, and the calls that it took."""
            simulator.calls.reset()
            async with (
                running_service(tmp_path, {venue.name: simulator.base_url}) as service,
                service.client() as client,
            ):
                reply = await ask(client, venue, start, until, symbol=recording.symbol, timeframe=recording.timeframe)
            return reply, simulator.calls.by_endpoint["klines"]

        open_still, first_calls = await asked(end)
        clock.set(end + (end - last) / 2)
        closed, more_calls = await asked(end)

    assert open_still.rows.tolist() == recording.rows[:-1]
    assert closed.rows.tolist() == recording.rows
    assert first_calls == pages_for(venue, recording.timeframe, start, last)
    assert more_calls == 1
    bars = opens(recording.timeframe, start, end)
    holes = bars[~np.isin(bars, closed.rows["timestamp"])]
    assert holes.tolist() == bars[np.isin(bars, opens(recording.timeframe, *OUTAGE))].tolist()
    assert states(closed) == ["held"]


@pytest.mark.parametrize(
    "recording", [each for each in recordings() if each.id in {None, "binance-BTC/USDT-1h-two pages"}]
)
async def test_the_quality_of_recorded_hours_shows_the_outage_and_nothing_else(recording: Recording, tmp_path):
    clock = ManualClock(recording.end + timedelta(seconds=30))
    market = replace(SPOT[0], symbol=recording.symbol, listed=at("2017-01-01"))
    async with ExchangeSimulator("binance", clock=clock, markets=[market]).serve() as simulator:
        simulator.inject(recording, times=None)
        async with (
            running_service(tmp_path, {"binance": simulator.base_url}) as service,
            service.client() as client,
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session,
        ):
            await ask(client, recording.venue, recording.start, recording.end, symbol=recording.symbol, timeframe="1h")
            query = {"exchange": "binance", "symbol": recording.symbol, "timeframe": "1h", "details": "true"}
            pages, start = [], {}
            while start is not None:
                async with session.get(f"{service.http_url}/v1/quality", params=query | start) as response:
                    pages.append(await response.json())
                start = None if pages[-1]["next"] is None else {"start_time": pages[-1]["next"]}

    assert [gap for page in pages for gap in page["gaps"]] == [
        {
            "start_time": ms(OUTAGE[0]),
            "end_time": ms(OUTAGE[1]),
            "bars": 3,
            "state": "held",
            "reason": "the exchange has no bars here",
            "code": "DATA-012",
        }
    ]
    assert [finding for page in pages for finding in page["findings"]] == []
    assert {page["scores"]["overall"] for page in pages} == {1.0}
    assert sum(page["evidence"]["rows"] for page in pages) == len(recording.rows)
    assert sum(page["evidence"]["holes"] for page in pages) == 3
