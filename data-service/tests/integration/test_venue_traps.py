"""Traps that CCXT and the venues lay, each with a test named after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ccxt_venues import FACTS, NOW, Venue, rows_inside
from service_harness import at

from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

HOUR = TimeRange(at("2024-04-30T10:00"), at("2024-04-30T11:00"))
SECOND_MS = 1_000


async def asked(venue: Venue, timeframe: str = "1m", window: TimeRange = HOUR) -> dict[str, str]:
    """Return the parameters of the one call that a page costs."""
    await venue.client.fetch_ohlcv(venue.series("BTC/USDT", timeframe), window)
    [query] = venue.simulator.calls.queries("klines")
    return dict(query)


def parts(query: dict[str, str], *names: str) -> tuple[str | None, ...]:
    return tuple(query.get(name) for name in names)


# --- Ends of windows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["binance"])
async def test_binance_takes_both_ends_as_inclusive(venue: Venue):
    assert parts(await asked(venue), "startTime", "endTime", "limit") == ("1714471200000", "1714474799999", "60")


@pytest.mark.parametrize("name", ["kraken"])
async def test_kraken_takes_since_as_exclusive_and_in_seconds(venue: Venue):
    """CCXT asks from a bar earlier on."""
    assert parts(await asked(venue), "since", "interval") == ("1714471199", "1")


@pytest.mark.parametrize("name", ["kraken"])
async def test_kraken_answers_with_its_newest_720_whatever_it_is_asked(venue: Venue):
    long_ago = TimeRange(at("2023-01-01"), at("2023-01-01T01:00"))

    page = await venue.client.fetch_ohlcv(venue.series("BTC/USDT", "1m"), long_ago)

    assert page.rows.num_rows == FACTS["kraken"].history_bars
    assert rows_inside(page, long_ago) == []


@pytest.mark.parametrize("name", ["coinbase"])
async def test_coinbase_is_not_asked_for_a_bar_too_many(venue: Venue):
    """CCXT's end is a whole window after the start, and the end is inclusive."""
    query = await asked(venue)

    assert parts(query, "start", "end") == ("1714471200", "1714474799")


@pytest.mark.parametrize("name", ["coinbase", "coinbaseexchange"])
async def test_coinbase_refuses_windows_that_are_too_long_and_never_gets_one(venue: Venue):
    window = TimeRange(
        at("2024-04-01"), at("2024-04-01") + timedelta(minutes=FACTS[venue.client.facts.id].page_limit_bars)
    )

    page = await venue.client.fetch_ohlcv(venue.series("BTC/USDT", "1m"), window)

    assert rows_inside(page, window) == venue.truth("BTC/USDT", "1m", window)


@pytest.mark.parametrize("name", ["coinbaseexchange"])
async def test_coinbaseexchange_is_asked_in_iso_and_for_the_last_bar_too(venue: Venue):
    query = await asked(venue)

    assert parts(query, "start", "end") == ("2024-04-30T10:00:00Z", "2024-04-30T10:59:59Z")


@pytest.mark.parametrize("name", ["cryptocom"])
async def test_cryptocom_answers_with_25_rows_unless_it_is_given_a_count(venue: Venue):
    query = await asked(venue)

    assert parts(query, "start_ts", "end_ts", "count") == ("1714471199999", "1714474799999", "60")


@pytest.mark.parametrize("name", ["bybit"])
async def test_bybit_answers_with_the_newest_of_a_window_so_a_window_is_a_page(venue: Venue):
    query = await asked(venue)

    assert parts(query, "start", "end", "limit", "category") == ("1714471200000", "1714474799999", "60", "spot")


@pytest.mark.parametrize("name", ["okx"])
async def test_okx_takes_both_ends_as_exclusive(venue: Venue):
    assert parts(await asked(venue), "before", "after", "limit") == ("1714471199999", "1714474800000", "60")


@pytest.mark.parametrize("name", ["okx"])
async def test_okx_has_an_address_that_knows_only_the_newest_and_is_not_asked_there(venue: Venue):
    """CCXT decides by this machine's clock, which a test with the exchange's clock in the past would not show."""
    grid = Timeframe.parse("1m")
    venue.clock.set(datetime.now(UTC))
    end = grid.floor(venue.clock.now())
    for bars_ago in (5, 1439, 3000):
        start = grid.advance(end, -bars_ago)
        page = await venue.client.fetch_ohlcv(venue.series("BTC/USDT", "1m"), TimeRange(start, grid.advance(start, 5)))
        assert page.rows.num_rows == 5

    assert set(venue.simulator.calls.paths("klines")) == {"/api/v5/market/history-candles"}


# --- Grids -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["okx"])
@pytest.mark.parametrize(("timeframe", "bar"), [("6h", "6Hutc"), ("1d", "1Dutc"), ("1w", "1Wutc"), ("1M", "1Mutc")])
async def test_okx_days_follow_hong_kong_unless_the_utc_variants_are_asked_for(venue: Venue, timeframe: str, bar: str):
    grid = Timeframe.parse(timeframe)
    window = TimeRange(grid.floor(at("2024-01-01")), grid.advance(at("2024-01-01"), 2))

    assert (await asked(venue, timeframe, window))["bar"] == bar


@pytest.mark.parametrize("name", ["binance", "bybit", "cryptocom", "okx"])
async def test_a_month_is_not_30_days(venue: Venue):
    """CCXT counts so where it computes an end, and rounds Bybit's start up to a multiple of it."""
    window = TimeRange(at("2023-12-01"), at("2024-05-01"))

    page = await venue.client.fetch_ohlcv(venue.series("BTC/USDT", "1M"), window)

    assert rows_inside(page, window) == venue.truth("BTC/USDT", "1M", window)
    assert page.rows.num_rows == 5


@pytest.mark.parametrize("name", ["binance", "bybit", "cryptocom", "okx"])
async def test_a_week_opens_on_monday(venue: Venue):
    """Counted from 1970 it would be Thursday, to which CCXT rounds Bybit's start up."""
    monday = TimeRange(at("2024-01-01"), at("2024-01-08"))

    page = await venue.client.fetch_ohlcv(venue.series("BTC/USDT", "1w"), monday)

    assert rows_inside(page, monday) == venue.truth("BTC/USDT", "1w", monday)
    assert page.rows.num_rows == 1


def test_krakens_two_weeks_are_15_days_and_cryptocoms_begin_nobody_knows_when():
    assert not any("2w" in facts.timeframes for facts in FACTS.values())


# --- Rows ------------------------------------------------------------------------------------------------------------


async def test_a_duplicated_row_does_not_cost_the_newest(venue: Venue, name: str):
    """CCXT cuts a page to the limit after sorting it."""
    window = TimeRange(NOW.replace(second=0) - timedelta(minutes=60), NOW.replace(second=0))
    venue.simulator.inject("duplicate", times=1)

    page = await venue.client.fetch_ohlcv(venue.series("BTC/USDT", "1m"), window)

    opens = [row[0] for row in rows_inside(page, window)]
    truth = [row[0] for row in venue.truth("BTC/USDT", "1m", window)]
    assert sorted(set(opens)) == truth
    assert page.rows.num_rows == len(set(timestamps_ms(page.rows).tolist())) + 1


async def test_rows_outside_the_window_and_out_of_order_are_handed_on(venue: Venue):
    """CCXT would sort the ones and pass the others on; the validation wants to know of both."""
    window = TimeRange(NOW.replace(second=0) - timedelta(minutes=60), NOW.replace(second=0))
    series = venue.series("BTC/USDT", "1m")
    honest = (await venue.client.fetch_ohlcv(series, window)).rows

    venue.simulator.inject("stray", times=1)
    assert (await venue.client.fetch_ohlcv(series, window)).rows.num_rows == honest.num_rows + 2
    venue.simulator.inject("unsorted", times=1)
    unsorted = timestamps_ms((await venue.client.fetch_ohlcv(series, window)).rows).tolist()
    assert sorted(unsorted) == sorted(timestamps_ms(honest).tolist())
    assert unsorted not in (sorted(unsorted), sorted(unsorted, reverse=True))


async def test_ccxts_own_throttle_is_off(venue: Venue):
    """It is a queue in which the cancelled keep their place; the budget decides instead."""
    exchange = await venue.client._exchange.get()

    assert exchange.enableRateLimit is False


async def test_a_price_is_the_float_of_its_decimals(venue: Venue, name: str):
    """The truth of the simulator is whole steps of a price, on the wire they are text."""
    window = TimeRange(NOW.replace(second=0) - timedelta(minutes=60), NOW.replace(second=0))

    page = await venue.client.fetch_ohlcv(venue.series("PEPE/USDT", "1m"), window)

    assert rows_inside(page, window) == venue.truth("PEPE/USDT", "1m", window)
