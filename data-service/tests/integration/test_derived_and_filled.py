"""Bars that an exchange lacks, and rows where it has none: over real sockets, CCXT's own classes, simulated venues."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from service_harness import Client, Reply, RunningService, at, historical, ms, running_service
from wire_contract import DOCS

from cb_trade_simulator import ExchangeSimulator, RunningClock
from cb_trade_simulator.faults import StatusFault

NOW = at("2024-03-10T12:00:30")
FORMATS = ("json", "json_columns", "arrow")
PRICES = ("open", "high", "low", "close")


@pytest.fixture
async def simulator() -> AsyncIterator[ExchangeSimulator]:
    """Coinbase, which lacks bars of four hours, of a week and of a month, and omits minutes without trades."""
    async with ExchangeSimulator("coinbase", seed=1, clock=RunningClock(NOW)).serve() as running:
        yield running


@pytest.fixture
async def service(simulator, tmp_path) -> AsyncIterator[RunningService]:
    async with running_service(tmp_path / "data", {"coinbase": simulator.base_url}) as running:
        yield running


@pytest.fixture
async def client(service) -> AsyncIterator[Client]:
    async with service.client() as connected:
        yield connected


async def coinbase(client: Client, start: datetime, end: datetime, **fields: Any) -> Reply:
    return await client.history(start, end, **{"exchange": "coinbase", **fields})


def put_together(rows: np.ndarray, opens: list[int]) -> np.ndarray:
    """Return the bars that *rows* make which open at *opens*, each up to the next one."""
    made = []
    for first, end in zip(opens, [*opens[1:], 2**62], strict=True):
        part = rows[(first <= rows["timestamp"]) & (rows["timestamp"] < end)]
        if len(part):
            volume = 0.0
            for each in part["volume"].tolist():
                volume += each
            prices = (part["open"][0], part["high"].max(), part["low"].min(), part["close"][-1])
            made.append((first, *prices, volume))
    return np.array(made, rows.dtype)


@pytest.mark.parametrize("format_", FORMATS)
async def test_bars_of_four_hours_are_put_together_and_cost_nothing_the_second_time(client, simulator, format_):
    days = (at("2024-02-01"), at("2024-02-11"))

    cold = await coinbase(client, *days, timeframe="4h", format=format_)
    simulator.calls.reset()
    warm = await coinbase(client, *days, timeframe="4h", format=format_, chunk_rows=7)

    hours = simulator.candles("BTC/USDT", "2h", *days)
    expected = put_together(hours, list(range(ms(days[0]), ms(days[1]), 4 * 3_600_000)))
    for reply in (cold, warm):
        np.testing.assert_array_equal(reply.rows, expected)
        assert (reply.start["timeframe"], reply.start["derived_from"]) == ("4h", "2h")
        assert "fill" not in reply.start
        assert reply.start["estimated_rows"] == reply.last["rows"] == 60
        assert reply.last["gaps"] == []
        assert "synthetic_rows" not in reply.last
    assert cold.last["digest"] == warm.last["digest"]
    assert (cold.last["rows_from_exchange"], warm.last["rows_from_storage"]) == (120, 120)
    assert warm.chunks[0]["end_time"] == ms(days[0]) + 7 * 4 * 3_600_000
    assert simulator.calls.total == 0


@pytest.mark.parametrize("fill", ["none", "previous_close"])
async def test_what_is_stored_is_put_together_without_a_word_to_the_exchange_also_after_a_restart(
    simulator, tmp_path, fill
):
    days = (at("2024-02-01"), at("2024-02-11"))
    replies = []
    for _ in range(2):
        simulator.calls.reset()
        async with (
            running_service(tmp_path, {"coinbase": simulator.base_url}) as service,
            service.client() as client,
        ):
            replies.append(await coinbase(client, *days, timeframe="4h", fill=fill))

    assert replies[0].events == replies[1].events
    assert simulator.calls.total == 0


@pytest.mark.parametrize(
    ("timeframe", "opens"),
    [
        ("1w", ["2023-12-18", "2023-12-25", "2024-01-01", "2024-01-08"]),
        ("1M", ["2023-11-01", "2023-12-01", "2024-01-01", "2024-02-01"]),
        ("3M", ["2023-04-01", "2023-07-01", "2023-10-01"]),
    ],
)
@pytest.mark.parametrize("format_", FORMATS)
async def test_weeks_and_months_are_those_of_the_calendar(client, simulator, timeframe, opens, format_):
    starts = [at(each) for each in opens]
    end = starts[-1] + timedelta(hours=1)

    reply = await coinbase(client, starts[0] - timedelta(days=3), end, timeframe=timeframe, format=format_)

    days = simulator.candles("BTC/USDT", "1d", starts[0], NOW)
    bars = {"1w": 7 * 86_400_000, "1M": 29 * 86_400_000, "3M": 92 * 86_400_000}[timeframe]
    days = days[days["timestamp"] < ms(starts[-1]) + bars]
    np.testing.assert_array_equal(reply.rows, put_together(days, [ms(each) for each in starts]))
    assert reply.start["derived_from"] == "1d"
    assert reply.chunks[-1]["end_time"] == ms(starts[-1]) + bars


async def test_the_first_bar_is_that_in_which_the_market_was_listed(client, simulator):
    """At six in the morning, in the middle of a bar of four hours."""
    reply = await coinbase(client, at("2020-08-10"), at("2020-08-12"), symbol="SOL/USDT", timeframe="4h")

    hours = simulator.candles("SOL/USDT", "2h", at("2020-08-10"), at("2020-08-12"))
    opens = list(range(ms(at("2020-08-11T04:00")), ms(at("2020-08-12")), 4 * 3_600_000))
    np.testing.assert_array_equal(reply.rows, put_together(hours, opens))
    assert [(each["state"], each["end_time"]) for each in reply.last["coverage"]] == [
        ("unlisted", ms(at("2020-08-11T04:00"))),
        ("held", ms(at("2020-08-12"))),
    ]


async def test_hours_that_fail_leave_gaps_of_whole_bars(client, simulator):
    await coinbase(client, at("2024-02-01"), at("2024-02-01T10:00"), timeframe="2h")
    simulator.inject(StatusFault(503), times=None)

    reply = await coinbase(client, at("2024-02-01"), at("2024-02-02"), timeframe="4h")

    assert [row["timestamp"] for row in reply.events] == [ms(at("2024-02-01")), ms(at("2024-02-01T04:00"))]
    assert [(gap["start_time"], gap["end_time"], gap["state"]) for gap in reply.last["gaps"]] == [
        (ms(at("2024-02-01T08:00")), ms(at("2024-02-02")), "failed")
    ]


async def test_the_newest_bar_is_whole(client, simulator):
    reply = await coinbase(client, at("2024-03-10"), at("2024-03-11"), timeframe="4h")
    latest = {"type": "request_current_timestamp", "exchange": "coinbase", "symbol": "BTC/USDT", "timeframe": "4h"}

    current = await client.ask(latest)

    assert reply.start["end_time"] == current["closed_until"] == ms(at("2024-03-10T12:00"))
    assert reply.events[-1]["timestamp"] == current["timestamp"] == ms(at("2024-03-10T08:00"))
    assert current["derived_from"] == "2h"


async def test_a_plan_says_what_the_bars_would_be_made_of(client, simulator):
    wanted = historical(at("2024-02-01"), at("2024-02-02"), exchange="coinbase", timeframe="4h")

    plan = await client.ask(wanted | {"type": "plan_historical", "fill": "null"})

    assert (plan["derived_from"], plan["exchange_calls"]) == ("2h", 1)
    assert plan["missing"] == [{"start_time": ms(at("2024-02-01")), "end_time": ms(at("2024-02-02"))}]
    assert simulator.calls.total == 0


async def test_bars_that_the_exchange_has_are_derived_for_whoever_asks_and_are_its_own(tmp_path):
    """Prices exactly, volumes but for the rounding of sums."""
    days = (at("2024-02-01"), at("2024-02-05"))
    async with (
        ExchangeSimulator("binance", seed=1, clock=RunningClock(NOW)).serve() as simulator,
        running_service(tmp_path, simulator.base_url) as service,
        service.client() as client,
    ):
        own = await client.history(*days, timeframe="1h")
        derived = await client.history(*days, timeframe="1h", derive=True)
        month = await client.history(at("2023-12-01"), at("2024-03-01"), timeframe="1M", derive=True)
        own_month = await client.history(at("2023-12-01"), at("2024-03-01"), timeframe="1M")

    assert (derived.start["derived_from"], month.start["derived_from"]) == ("30m", "1d")
    assert "derived_from" not in own.start
    for made, told in ((derived, own), (month, own_month)):
        assert len(made.rows) == len(told.rows) > 0
        for name in ("timestamp", *PRICES):
            np.testing.assert_array_equal(made.rows[name], told.rows[name])
        np.testing.assert_allclose(made.rows["volume"], told.rows["volume"], rtol=1e-12)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"timeframe": "7m"}, "unknown_timeframe", "timeframe"),
        ({"timeframe": "1m", "derive": True}, "unknown_timeframe", "timeframe"),
        ({"timeframe": None, "kind": "trades", "fill": "null"}, "invalid_value", "fill"),
        ({"timeframe": None, "kind": "trades", "derive": True}, "invalid_value", "derive"),
        ({"fill": "zero"}, "invalid_value", "fill"),
    ],
    ids=str,
)
async def test_what_cannot_be_made_is_refused(client, fields, code, field):
    error = await client.ask(historical(at("2024-02-01"), at("2024-02-02"), exchange="coinbase", **fields))

    assert error["code"] == code
    assert error["details"].get("field", "timeframe") == field
    if code == "unknown_timeframe":
        assert "2h" in error["details"]["known"]
        assert {"4h", "1w", "1M"} <= set(error["details"]["derivable"])


async def test_an_exchange_that_can_derive_the_timeframe_can_answer(simulator, tmp_path):
    async with (
        ExchangeSimulator("kraken", seed=2, clock=RunningClock(NOW)).serve() as kraken,
        running_service(tmp_path, {"kraken": kraken.base_url, "coinbase": simulator.base_url}) as service,
        service.client() as client,
    ):
        both = ["kraken", "coinbase"]
        recent = await client.history(at("2024-03-10"), at("2024-03-10T04:00"), exchange=both, timeframe="2h")
        # Kraken has its newest 720 bars only: of four hours these reach back to November.
        old = await client.history(at("2023-10-01"), at("2023-10-02"), exchange=both, timeframe="4h")
        again = await client.history(at("2023-10-01"), at("2023-10-02"), exchange=both, timeframe="4h")

    assert (recent.start["exchange"], recent.start["derived_from"]) == ("kraken", "1h")
    assert (old.start["exchange"], old.start["derived_from"]) == ("coinbase", "2h")
    assert (old.last["rows"], again.last["exchange_calls"]) == (6, 0)


# --- Fills -----------------------------------------------------------------------------------------------------------

QUIET = (at("2024-02-01"), at("2024-02-01T04:00"))


@pytest.mark.parametrize("fill", ["previous_close", "null"])
@pytest.mark.parametrize("format_", FORMATS)
async def test_quiet_minutes_are_filled_and_marked(client, simulator, format_, fill):
    plain = await coinbase(client, *QUIET, symbol="ADA/BTC", timeframe="1m")

    filled = await coinbase(client, *QUIET, symbol="ADA/BTC", timeframe="1m", format=format_, fill=fill, chunk_rows=100)

    real = {row["timestamp"]: row for row in plain.events}
    rows = filled.events
    assert 0 < len(real) < 240
    first = 0 if fill == "null" else rows.index(next(row for row in rows if not row["synthetic"]))
    assert [row["timestamp"] for row in rows] == list(range(rows[0]["timestamp"], ms(QUIET[1]), 60_000))
    assert {row["timestamp"]: without_mark(row) for row in rows if not row["synthetic"]} == real
    close = None
    for row in rows[first:]:
        close = row["close"] if not row["synthetic"] else close
        if row["synthetic"]:
            prices, volume = (close, 0.0) if fill == "previous_close" else (None, None)
            assert [row[name] for name in PRICES] == [prices] * 4
            assert row["volume"] == volume
    assert filled.start["fill"] == fill
    assert filled.last["synthetic_rows"] == len(rows) - len(real)
    assert filled.last["rows"] == len(rows)
    for told in ("digest", "coverage", "gaps"):
        assert filled.last[told] == plain.last[told]
    assert filled.last["exchange_calls"] == 0


def without_mark(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "synthetic"}


async def test_the_schema_of_a_filled_answer_has_a_mark_and_nulls_where_there_may_be_some(client):
    schemas = {}
    for fill in ("previous_close", "null"):
        reply = await coinbase(client, *QUIET, symbol="ADA/BTC", timeframe="1m", format="arrow", fill=fill)
        schemas[fill] = pa.ipc.open_stream(b"".join(chunk["binary"] for chunk in reply.chunks)).schema

    assert [schema.names[-1] for schema in schemas.values()] == ["synthetic"] * 2
    assert {field.name for field in schemas["null"] if field.nullable} == {*PRICES, "volume"}
    assert not any(field.nullable for field in schemas["previous_close"])


async def test_whoever_goes_on_after_a_drop_gets_the_same_rest(client):
    whole = await coinbase(client, *QUIET, symbol="ADA/BTC", timeframe="1m", fill="previous_close", chunk_rows=9)
    rows = whole.events

    for chunk in whole.chunks[:-1:5]:
        end = at("1970-01-01") + timedelta(milliseconds=chunk["end_time"])
        rest = await coinbase(client, end, QUIET[1], symbol="ADA/BTC", timeframe="1m", fill="previous_close")
        assert rest.events == [row for row in rows if row["timestamp"] >= chunk["end_time"]]


async def test_derived_bars_are_filled_like_others(client, simulator):
    plain = await coinbase(client, *QUIET, symbol="ADA/BTC", timeframe="2m")
    filled = await coinbase(client, *QUIET, symbol="ADA/BTC", timeframe="2m", fill="null")

    assert (filled.start["derived_from"], filled.start["fill"]) == ("1m", "null")
    assert filled.last["rows"] == 120
    assert filled.last["synthetic_rows"] == 120 - plain.last["rows"] > 0
    assert filled.last["digest"] == plain.last["digest"]


async def test_a_fill_none_is_as_none(client):
    plain = await coinbase(client, *QUIET, timeframe="1h")
    none = await coinbase(client, *QUIET, timeframe="1h", fill="none", derive=False)

    assert none.events == plain.events
    assert set(none.start) == set(plain.start)
    assert set(none.last) == set(plain.last)


# --- The page for people ---------------------------------------------------------------------------------------------

PAGE = DOCS / "how-to" / "derive-and-fill.md"


async def test_the_requests_of_the_page_do_what_it_says(client):
    requests = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    replies = []
    for request in requests:
        await client.send(request)
        replies.append(await client.rest())

    assert [reply.start and reply.start.get("derived_from") for reply in replies] == [
        "2h", "1d", "30m", None, None, "5m"
    ]  # fmt: skip
    assert [reply.last.get("synthetic_rows", 0) > 0 for reply in replies] == [False] * 4 + [True] * 2
    assert replies[3].last["derived_from"] == "2h"
    assert all(reply.last["rows"] > 0 for reply in replies if reply.start)
