"""Keeping house of trades and funding rates as of bars, in every place and layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
from event_samples import (
    DAY,
    DAY_PARTITION,
    FUNDING,
    STORED_FUNDING,
    STORED_TRADES,
    TRADES,
    at_ms,
    holding,
    many_trades,
    span_ms,
    trades,
)
from storage_samples import FACTS, write
from unit_builders import assert_same_rows, bars, series, span, utc

from cb_trade_data.models.market import SCHEMAS
from cb_trade_data.models.series import Kind
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.housekeeping.deletion import delete
from cb_trade_data.storage.housekeeping.findings import FindingKind
from cb_trade_data.storage.housekeeping.scope import Scope
from cb_trade_data.storage.housekeeping.statistics import statistics
from cb_trade_data.storage.housekeeping.verification import Examined, verify

EVERYTHING = Scope()


async def findings(storage, scope: Scope = EVERYTHING) -> list[tuple[FindingKind, int]]:
    items = [item async for item in verify(storage, scope)]
    found = [finding for item in items for finding in (item.findings if isinstance(item, Examined) else [item])]
    return [(finding.kind, finding.count) for finding in found]


async def rows_of(storage, scope: Scope = EVERYTHING) -> dict[str, int]:
    return {str(one.series): one.rows async for one in statistics(storage, scope)}


@pytest.fixture
async def mixed(storage):
    """Bars, two days of trades and funding rates of one symbol, each series with its facts."""
    await storage.save_bulk_entries(series("BTC/USDT:USDT"), bars([DAY]))
    for of, rows in (
        (replace(TRADES, symbol=FUNDING.symbol), trades((-1, "1"), (7, "2"), (7, "3"), (86_399_999, "4"))),
        (FUNDING, STORED_FUNDING.rows),
    ):
        await storage.save_bulk_entries(of, rows)
    for of in await storage.list_series():
        await storage.write_facts(of, replace(FACTS, listed_at=None))
    return storage


async def test_what_is_stored_of_all_kinds_is_sound(storage, fresh):
    await write(storage, STORED_TRADES)
    await write(storage, STORED_FUNDING)
    await storage.save_bulk_entries(series(), bars([DAY]))

    assert await findings(fresh) == []


async def test_trades_of_one_time_in_the_wrong_order_are_found(storage, fresh):
    await write(storage, holding(TRADES, trades((5, "10"), (5, "9"), (6, "1"), (7, "1")), span_ms(0, 9)))

    assert await findings(fresh) == [(FindingKind.ROWS_OUT_OF_ORDER, 1)]


async def test_a_trade_that_is_there_twice_is_found(storage, fresh):
    if storage.has_rows_apart:
        pytest.skip("two documents of one trade have one name")
    await write(storage, holding(TRADES, trades((5, "9"), (5, "9"), (5, "10"), (6, "1")), span_ms(0, 9)))

    assert await findings(fresh) == [(FindingKind.ROWS_OUT_OF_ORDER, 1)]


async def test_trades_outside_their_day_or_what_is_held_are_found(storage, fresh):
    await write(storage, holding(TRADES, trades((5, "1"), (9, "2"), (86_400_000, "3")), span_ms(0, 6)))

    assert sorted(await findings(fresh)) == [(FindingKind.ROWS_NOT_HELD, 2), (FindingKind.ROWS_OUTSIDE_PARTITION, 1)]


async def test_a_rate_that_is_no_number_is_found_and_a_missing_mark_price_is_none(storage, fresh):
    rows = STORED_FUNDING.rows
    if storage.has_rows_apart:
        pytest.skip("JSON has no NaN")
    rates = rows.column("rate").to_pylist()
    broken = rows.set_column(1, SCHEMAS[Kind.FUNDING_RATE].field("rate"), [[float("nan"), *rates[1:]]])
    await write(storage, replace(STORED_FUNDING, rows=broken))

    assert await findings(fresh) == [(FindingKind.NOT_FINITE, 1)]


async def test_damaged_trades_are_found_and_left_where_they_are(storage, fresh, around):
    await write(storage, STORED_TRADES)
    path = storage.paths.part_path(DAY_PARTITION)
    around.write(path, b"garbage")

    assert (FindingKind.DAMAGED_PARTITION, 1) in await findings(fresh)
    assert around.read(path) == b"garbage"


async def test_every_series_is_counted_with_its_rows_and_no_gaps_in_bars(mixed, fresh, around):
    """A millisecond in which nothing is known to have happened is no missing bar."""
    unsettled = (Segment(span_ms(0, 9), State.FAILED, at_ms(99), reason="timeout"),)
    await write(mixed, replace(holding(TRADES, trades()), coverage=Coverage(unsettled)))

    found = {str(one.series): one async for one in statistics(fresh, EVERYTHING)}

    assert {name: (one.partitions, one.rows) for name, one in found.items()} == {
        "binance BTC/USDT trades": (1, 0),
        "binance BTC/USDT:USDT funding_rate": (1, 4),
        "binance BTC/USDT:USDT ohlcv 1m": (1, 1),
        "binance BTC/USDT:USDT trades": (2, 4),
    }
    assert found["binance BTC/USDT:USDT trades"].first == at_ms(-1)
    assert found["binance BTC/USDT:USDT trades"].last == at_ms(86_399_999)
    assert all(not one.gap_bars for one in found.values())
    assert sum(one.size_bytes for one in found.values()) == sum(map(len, around.content().values()))


@pytest.mark.parametrize(
    ("scope", "meant"),
    [
        (Scope("binance", "BTC/USDT:USDT", kind=Kind.TRADES), ["trades"]),
        (Scope("binance", "BTC/USDT:USDT", kind=Kind.FUNDING_RATE), ["funding_rate"]),
        (Scope("binance", "BTC/USDT:USDT", kind=Kind.OHLCV), ["ohlcv 1m"]),
        (Scope("binance", "BTC/USDT:USDT", series().grid), ["ohlcv 1m"]),
        (Scope("binance", "BTC/USDT:USDT"), ["funding_rate", "ohlcv 1m", "trades"]),
        (Scope("binance", "BTC/USDT", kind=Kind.TRADES), []),
    ],
    ids=str,
)
async def test_a_kind_of_a_symbol_can_be_meant_alone(mixed, scope, meant):
    assert sorted(await rows_of(mixed, scope)) == [f"binance BTC/USDT:USDT {each}" for each in meant]


async def test_a_kind_without_bars_has_no_timeframe():
    with pytest.raises(ValueError, match="timeframe"):
        Scope("binance", "BTC/USDT", series().grid, Kind.TRADES)
    with pytest.raises(ValueError, match="symbol"):
        Scope("binance", kind=Kind.TRADES)


async def test_a_kind_that_is_deleted_leaves_the_others(mixed, fresh, around):
    others = {path: data for path, data in around.content().items() if "trades" not in path}

    done = [each async for each in delete(mixed, Scope("binance", FUNDING.symbol, kind=Kind.TRADES), None)]

    assert [(str(one.partition)[-10:], one.rows, one.is_whole) for one in done] == [
        ("2024-02-28", 1, True),
        ("2024-02-29", 3, True),
    ]
    assert around.content() == others


async def test_the_size_of_each_day_is_that_of_its_own_objects(storage, around):
    """A listing has the documents of all days of a month before what commits any of them."""
    for number, rows in ((-2, 3), (-1, 30), (0, 90)):
        await storage.save_bulk_entries(TRADES, many_trades(rows, first=86_400_000 * number))
    content = around.content().items()
    sizes = [
        sum(len(data) for path, data in content if f"/02/{day}/" in path or f"-{day}." in path) for day in (27, 28, 29)
    ]

    done = [each async for each in delete(storage, EVERYTHING, None, dry_run=True)]

    assert [one.size_bytes for one in done] == sizes


async def test_trades_before_an_instant_go_and_the_others_stay(mixed, fresh):
    of = replace(TRADES, symbol=FUNDING.symbol)
    done = [each async for each in delete(mixed, Scope("binance", of.symbol, kind=Kind.TRADES), at_ms(8))]

    assert [(one.rows, one.is_whole) for one in done] == [(1, True), (2, False)]
    assert_same_rows(await fresh.get_range(of, span("2024-02-01", "2024-04-01")), trades((86_399_999, "4")))
    assert await findings(fresh) == []


async def test_funding_rates_before_an_instant_go_and_the_others_stay(mixed, fresh):
    await anext(delete(mixed, Scope("binance", FUNDING.symbol, kind=Kind.FUNDING_RATE), utc("2024-02-29")))

    left = await fresh.read_partition(STORED_FUNDING.partition)
    assert_same_rows(left.rows.combine_chunks(), STORED_FUNDING.rows.slice(2).combine_chunks())
    assert await findings(fresh) == []
