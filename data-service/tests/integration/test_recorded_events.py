"""Trades and funding rates that real exchanges gave, replayed through plugin, service and wire."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from service_harness import Client, Reply, at, ms, running_service

from cb_trade_simulator import ExchangeSimulator, ManualClock
from cb_trade_simulator.faults.kinds import Asked
from cb_trade_simulator.markets.catalogue import PERPETUALS, SPOT
from cb_trade_simulator.venues.venue import Answer

FOLDER = Path(__file__).parents[4] / "shared" / "data"
FUNDING = {name: FOLDER / f"{name}_BTCUSDT_funding_rates.csv" for name in ("binance", "okx")}
RECORDED = FOLDER / "binance_recorded_responses.json"
SYMBOL = "BTC/USDT:USDT"
EIGHT_HOURS = timedelta(hours=8)

pytestmark = pytest.mark.skipif(
    not RECORDED.exists(), reason="what was recorded is no part of the project, and not here"
)


def paid(exchange: str) -> list[tuple[int, float]]:
    """Return the recorded funding: time in epoch milliseconds and rate, in the order of the file."""
    with FUNDING[exchange].open() as lines:
        return [
            (ms(datetime.fromisoformat(row["funding_timestamp"])), float(row["funding_rate"]))
            for row in csv.DictReader(lines)
        ]


async def funding(client: Client, exchange: str, start: datetime, end: datetime) -> Reply:
    return await client.history(start, end, exchange=exchange, symbol=SYMBOL, kind="funding_rate", timeframe=None)


def after(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


async def test_the_complete_funding_of_binance_comes_as_it_was_paid_and_without_a_gap(tmp_path):
    recorded = paid("binance")
    start, end = after(recorded[0][0]), after(recorded[-1][0]) + timedelta(hours=1)
    async with ExchangeSimulator("binance", clock=ManualClock(end + timedelta(days=1))).serve() as simulator:
        simulator.replay_funding(SYMBOL, *zip(*recorded, strict=True))
        async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
            reply = await funding(client, "binance", start, end)

    assert [(row["timestamp"], row["rate"]) for row in reply.events] == recorded
    assert len(recorded) == 1914
    assert reply.last["gaps"] == []
    assert reply.last["exchange_calls"] == 2


async def test_what_okx_told_twice_is_not_told_twice_and_what_it_left_out_is_a_gap(tmp_path):
    """Each of the 210 doubles has two rates: neither is believed, and nobody gets one of them for the truth."""
    recorded = paid("okx")
    tales: dict[int, set[float]] = defaultdict(set)
    for time_ms, rate in recorded:
        tales[time_ms].add(rate)
    first, last = min(tales), max(tales)
    disputed = {time_ms for time_ms, rates in tales.items() if len(rates) > 1}
    due = set(range(first, last + 1, int(EIGHT_HOURS.total_seconds() * 1000)))
    absent = due - set(tales)

    clock = ManualClock(after(first) + timedelta(days=80))
    async with ExchangeSimulator("okx", clock=clock).serve() as simulator:
        simulator.replay_funding(SYMBOL, *zip(*recorded, strict=True))
        # It serves three months: somebody asks as time goes by, each time a service that reads its clock anew.
        while clock.now() < after(last) + timedelta(days=80):
            until = min(clock.now(), after(last) + timedelta(hours=1))
            async with running_service(tmp_path, {"okx": simulator.base_url}) as service, service.client() as client:
                reply = await funding(client, "okx", after(first), until)
            clock.advance(timedelta(days=60))

    assert (len(recorded), len(disputed), len(absent)) == (1563, 210, 132)
    assert [(row["timestamp"], row["rate"]) for row in reply.events] == [
        (time_ms, *tales[time_ms]) for time_ms in sorted(set(tales) - disputed)
    ]
    gaps = [(gap["start_time"], gap["end_time"]) for gap in reply.last["gaps"]]
    assert all(any(start <= time_ms < end for start, end in gaps) for time_ms in absent | disputed)
    told = {row["timestamp"] for row in reply.events}
    assert not any(start <= time_ms < end for start, end in gaps for time_ms in told)


# --- Trades ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """A recorded answer with aggregate trades; asked by time, it gives those that lie there."""

    trades: list[dict[str, Any]]

    async def answer(self, _venue_answer: Callable[[], Awaitable[Answer]], asked: Asked, /) -> Answer:
        query = asked.question.query
        first_ms, last_ms = int(query["startTime"]), int(query["endTime"])
        found = [each for each in self.trades if first_ms <= each["T"] <= last_ms]
        return Answer(json.dumps(found[: int(query["limit"])]).encode())


def recordings() -> Iterator[Any]:
    if not RECORDED.exists():
        return
    routes = json.loads(RECORDED.read_text())["routes"]
    for path, settled in (("/api/v3/aggTrades", ""), ("/fapi/v1/aggTrades", ":USDT")):
        for number, answer in enumerate(routes[path]["GET"]):
            query = parse_qs(answer["queryString"])
            symbol = {"BTCUSDT": "BTC/USDT", "LTCUSDT": "LTC/USDT"}[query["symbol"][0]] + settled
            # Of some, the name of the field that tells the side was lost.
            if all("m" in each for each in answer["data"]):
                yield pytest.param(symbol, answer["data"], id=f"{path}-{number}")


@pytest.mark.parametrize(("symbol", "recorded"), list(recordings()))
async def test_recorded_trades_are_delivered_as_they_are(symbol: str, recorded: list[dict[str, Any]], tmp_path):
    first_ms, last_ms = (choose(each["T"] for each in recorded) for choose in (min, max))
    times = Counter(each["T"] // 3_600_000 for each in recorded)
    market = replace((PERPETUALS if symbol.endswith(":USDT") else SPOT)[0], symbol=symbol, listed=at("2017-01-01"))
    async with ExchangeSimulator(
        "binance", clock=ManualClock(after(last_ms) + timedelta(days=1)), markets=[market]
    ).serve() as simulator:
        simulator.inject(Recording(recorded), endpoint="aggTrades", times=None)
        async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
            reply = await client.history(
                after(first_ms), after(last_ms + 1), symbol=symbol, kind="trades", timeframe=None
            )

    assert [(row["timestamp"], row["id"], row["side"], row["price"], row["amount"]) for row in reply.events] == [
        (each["T"], str(each["a"]), "sell" if each["m"] else "buy", float(each["p"]), float(each["q"]))
        for each in sorted(recorded, key=lambda each: (each["T"], each["a"]))
    ]
    assert len(times) >= 1
    assert reply.last["gaps"] == []
