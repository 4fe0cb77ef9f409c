"""Trades and funding rates, from the exchange's wire through the service to the SDK."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from service_harness import RunningService, at, token

from cb_trade_client import DataClient, History, RequestError
from cb_trade_client.requests import FORMATS

TRADES = ("binance", "BTC/USDT", None)
FUNDING = ("binance", "BTC/USDT:USDT", None)
MINUTES = (at("2024-01-01T23:55"), at("2024-01-02T00:05"))  # of two partitions
YEARS = (at("2022-06-01"), at("2024-01-01"))
RANGES = {"trades": (TRADES, MINUTES), "funding_rate": (FUNDING, YEARS)}


@pytest.fixture
async def sdk(service: RunningService):
    async with DataClient(service.socket_url, token=token()) as client:
        yield client


@pytest.fixture(params=RANGES)
def kind(request) -> str:
    return request.param


async def history(sdk: DataClient, kind: str, **options) -> History:
    named, span = RANGES[kind]
    return await sdk.history(*named, *span, kind=kind, verify=True, **options)


async def test_what_arrives_is_what_the_exchange_has_and_the_second_time_it_is_not_asked(sdk, simulator, kind):
    cold = await history(sdk, kind)
    first_calls = simulator.calls.total
    simulator.calls.reset()

    warm = await history(sdk, kind)

    assert len(cold) > 100
    assert cold.receipt.exchange_calls > 0
    assert first_calls >= cold.receipt.exchange_calls
    assert (warm.receipt.exchange_calls, simulator.calls.total) == (0, 0)
    assert warm.to_arrow().equals(cold.to_arrow())
    assert warm.digest == cold.digest
    assert cold.gaps == ()
    assert {segment.state for segment in warm.coverage} == {"held"}


async def test_funding_rates_are_the_exchanges_to_the_last_bit(sdk, simulator):
    table = (await history(sdk, "funding_rate")).to_arrow()

    truth = simulator.funding("BTC/USDT:USDT", *YEARS)
    np.testing.assert_array_equal(table.column("timestamp").cast(pa.int64()).to_numpy(), truth["timestamp"])
    np.testing.assert_array_equal(table.column("rate").to_numpy(), truth["rate"])


async def test_the_times_of_trades_are_the_exchanges(sdk, simulator):
    table = (await history(sdk, "trades")).to_arrow()

    truth = simulator.trades("BTC/USDT", *MINUTES)
    times = table.column("timestamp").cast(pa.int64()).to_numpy()
    assert set(times) == set(truth["timestamp"])
    amounts, true_amounts = table.column("amount").to_numpy(), truth["amount"]
    assert amounts.sum() == pytest.approx(true_amounts.sum())


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_every_format_brings_the_same_rows_proven_by_the_same_digest(sdk, kind, wire_format):
    arrow = await history(sdk, kind)

    other = await history(sdk, kind, format=wire_format, chunk_rows=700)

    assert other.to_arrow().equals(arrow.to_arrow())
    assert other.digest == arrow.digest


async def test_a_part_of_a_range_is_resumed_behind_the_last_millisecond_that_came(sdk, kind):
    whole = await history(sdk, kind)
    (named, (_, end)), rows = RANGES[kind], whole.to_arrow()
    async with sdk.stream(*named, *RANGES[kind][1], kind=kind, chunk_rows=50) as stream:
        batches = aiter(stream)
        first = await anext(batches)
    last = first.column("timestamp")[-1].as_py()

    rest = await sdk.history(*named, last + timedelta(milliseconds=1), end, kind=kind)

    assert pa.concat_tables([pa.table(first), rest.to_arrow().replace_schema_metadata()]).equals(
        rows.replace_schema_metadata()
    )


async def test_plan_and_coverage_tell_of_a_kind_without_bars(sdk, simulator, kind):
    named, span = RANGES[kind]
    cold = await sdk.plan(*named, *span, kind=kind)
    fetched = await history(sdk, kind)
    warm = await sdk.plan(*named, *span, kind=kind)

    report = await sdk.coverage(*named, *span, kind=kind)

    assert cold.exchange_calls > 0
    assert (warm.rows_in_storage, warm.exchange_calls, warm.missing) == (len(fetched), 0, ())
    assert (report.kind, report.timeframe, report.bars_expected, report.bars_held) == (kind, None, None, None)
    assert [(each.state, each.bars, each.start, each.end) for each in report.segments] == [("held", None, *span)]


async def test_the_newest_row_and_how_far_nothing_changes_any_more_are_told(sdk, kind):
    named, _ = RANGES[kind]
    rows = (await history(sdk, kind)).to_arrow()

    reach = await sdk.latest(*named, kind=kind)

    assert reach.timestamp == rows.column("timestamp")[-1].as_py()
    assert reach.timestamp < reach.closed_until <= datetime.now(UTC)


async def test_stored_series_without_bars_are_listed(sdk, kind):
    rows = (await history(sdk, kind)).to_arrow()

    (stored,) = await sdk.series()
    (exchange,) = [each for each in await sdk.exchanges() if each.name == "binance"]

    assert (stored.kind, stored.timeframe) == (kind, None)
    assert stored.last_timestamp == rows.column("timestamp")[-1].as_py()
    assert kind in exchange.kinds


async def test_funding_rates_of_a_spot_market_cannot_be_had(sdk):
    with pytest.raises(RequestError) as caught:
        await sdk.history("binance", "BTC/USDT", None, *YEARS, kind="funding_rate")

    assert caught.value.code == "unsupported_kind"
