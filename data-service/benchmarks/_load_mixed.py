"""Many clients at once that ask for everything there is, leave in the middle, and hold each row against the truth."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import websockets
from websockets.asyncio.client import ClientConnection

from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.time_range import TimeRange, join
from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.clock import ManualClock

_COLUMNS: Final = ("timestamp", "open", "high", "low", "close", "volume")
_DTYPE: Final = [("timestamp", "i8"), *((name, "f8") for name in _COLUMNS[1:])]
_SYMBOLS: Final = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
_TIMEFRAMES: Final = {"1m": timedelta(days=2), "5m": timedelta(days=7), "1h": timedelta(days=60)}  # the longest range
_START: Final = datetime(2024, 1, 1, tzinfo=UTC)
_DAYS: Final = 365
_ACTIONS: Final = {"json": 20, "json_columns": 15, "arrow": 35, "plan": 10, "current": 10, "refresh": 5, "drop": 5}
_ANSWER_SECS: Final = 180.0  # an exchange that fails is patiently asked for a minute and more
_PAUSE_SECS: Final = 0.05


class Truth:
    """What the exchange has: the same past as the simulator's of that seed."""

    def __init__(self, present: str) -> None:
        self._simulator = ExchangeSimulator(venue="binance", seed=1, clock=ManualClock(datetime.fromisoformat(present)))

    def rows(self, symbol: str, timeframe: str, start_ms: int, end_ms: int) -> Any:
        return self._simulator.candles(symbol, timeframe, from_ms(start_ms), from_ms(end_ms))


class Ledger:
    """What was found so far.

    Attributes:
        held: Of each series, the ranges that were answered as held.
    """

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self.outcomes: Counter[str] = Counter()
        self.rows = 0
        self.wrong_rows = 0
        self.lost_rows = 0
        self.held: dict[tuple[str, str], list[TimeRange]] = defaultdict(list)

    def add(self, question: dict[str, Any], found: Any, last: dict[str, Any]) -> None:
        """Hold an answer against the truth: each row, and each that is not there and not said to be missing."""
        symbol, timeframe = question["symbol"], question["timeframe"]
        truth = self._truth.rows(symbol, timeframe, question["start_time"], question["end_time"])
        self.rows += len(found)
        self.wrong_rows += int((~np.isin(found, truth)).sum()) + len(found) - len(np.unique(found["timestamp"]))
        absent = truth["timestamp"][~np.isin(truth["timestamp"], found["timestamp"])]
        for gap in last["gaps"]:
            absent = absent[(absent < gap["start_time"]) | (absent >= gap["end_time"])]
        self.lost_rows += len(absent)
        self.held[symbol, timeframe] += [
            TimeRange(from_ms(part["start_time"]), from_ms(part["end_time"]))
            for part in last["coverage"]
            if part["state"] == "held"
        ]


def _question(chance: random.Random, action: str) -> dict[str, Any]:
    timeframe = chance.choice([*_TIMEFRAMES])
    longest = _TIMEFRAMES[timeframe]
    start = _START + timedelta(minutes=chance.randrange(_DAYS * 1440))
    length = longest * chance.random() + timedelta(hours=2)
    question = {"exchange": "binance", "symbol": chance.choice(_SYMBOLS), "timeframe": timeframe}
    times = {"start_time": to_ms(start), "end_time": to_ms(start + length)}
    match action:
        case "current":
            return {"type": "request_current_timestamp", **question}
        case "plan":
            return {"type": "plan_historical", **question, **times}
        case "refresh":
            times["end_time"] = times["start_time"] + 7_200_000
            return {"type": "request_historical", **question, **times, "format": "arrow", "refresh": True}
        case "drop":
            return {"type": "request_historical", **question, **times, "format": "json", "chunk_rows": 10}
    return {"type": "request_historical", **question, **times, "format": action}


async def answer(connection: ClientConnection, question: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Ask, and return the rows and the last word."""
    await connection.send(json.dumps(question))
    parts, binaries = [np.empty(0, _DTYPE)], []
    while True:
        message = json.loads(await connection.recv())
        if message["type"] == "historical_data_start":
            continue
        if message["type"] != "historical_data_chunk":
            break
        if "bytes" in message:
            binaries.append(await connection.recv(decode=False))
        else:
            parts.append(_from_json(message["data"]))
    if binaries:
        table = pa.ipc.open_stream(b"".join(binaries)).read_all()
        parts.append(np.empty(table.num_rows, _DTYPE))
        for name in _COLUMNS:
            parts[-1][name] = table.column(name).to_numpy().view(parts[-1][name].dtype)
    return np.concatenate(parts), message


def _from_json(data: Any) -> Any:
    rows = (
        zip(*(data[name] for name in _COLUMNS), strict=True)
        if isinstance(data, dict)
        else (tuple(row[name] for name in _COLUMNS) for row in data)
    )
    return np.array([*rows], _DTYPE)


async def _client(task: dict[str, Any], number: int, ledger: Ledger, ends: float) -> None:
    chance = random.Random(number)  # noqa: S311
    url, headers = f"ws://127.0.0.1:{task['port']}/ws/data", {"Authorization": f"Bearer {task['token']}"}
    while time.monotonic() < ends:
        try:
            async with websockets.connect(
                url, additional_headers=headers, compression=None, max_size=None, close_timeout=1
            ) as connection:
                await _ask_on(connection, chance, ledger, ends)
        except (OSError, websockets.WebSocketException) as error:  # the service is away, or ends
            ledger.outcomes[type(error).__name__] += 1
            await asyncio.sleep(_PAUSE_SECS)


async def _ask_on(connection: ClientConnection, chance: random.Random, ledger: Ledger, ends: float) -> None:
    while time.monotonic() < ends:
        [action] = chance.choices([*_ACTIONS], [*_ACTIONS.values()])
        question = _question(chance, action)
        if action == "drop":
            await connection.send(json.dumps(question))
            await connection.recv()
            connection.transport.abort()
            ledger.outcomes["dropped"] += 1
            return
        async with asyncio.timeout(_ANSWER_SECS):
            found, last = await answer(connection, question)
        ledger.outcomes[last.get("code", last["type"])] += 1
        if last["type"] == "historical_data_complete":
            ledger.add(question, found, last)
        await asyncio.sleep(_PAUSE_SECS)


async def mixed(task: dict[str, Any]) -> dict[str, Any]:
    """Ask for so many seconds; or, where the task says what was held, whether all of that is there."""
    truth = Truth(task["present"])
    ledger = Ledger(truth)
    if "held" in task:
        await _ask_for_all(task, ledger)
    else:
        ends = time.monotonic() + task["secs"]
        await asyncio.gather(*(_client(task, number, ledger, ends) for number in range(task["clients"])))
    held = [
        [*series, *(to_ms(edge) for edge in (part.start, part.end))]
        for series, parts in ledger.held.items()
        for part in join(parts)
    ]
    facts = {"rows": ledger.rows, "wrong_rows": ledger.wrong_rows, "lost_rows": ledger.lost_rows}
    return facts | {"outcomes": ledger.outcomes, "held": held}


async def _ask_for_all(task: dict[str, Any], ledger: Ledger) -> None:
    """Ask for all that was held before, of which nothing may be missing, for whatever reason."""
    url, headers = f"ws://127.0.0.1:{task['port']}/ws/data", {"Authorization": f"Bearer {task['token']}"}
    async with websockets.connect(url, additional_headers=headers, compression=None, max_size=None) as connection:
        for symbol, timeframe, start_ms, end_ms in task["held"]:
            question = {"type": "request_historical", "exchange": "binance", "symbol": symbol, "timeframe": timeframe}
            question |= {"start_time": start_ms, "end_time": end_ms, "format": "arrow"}
            found, last = await answer(connection, question)
            ledger.outcomes[last.get("code", last["type"])] += 1
            ledger.add(question, found, last | {"gaps": [gap for gap in last["gaps"] if gap["state"] != "failed"]})
