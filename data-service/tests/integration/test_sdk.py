"""The SDK and the service mean the same: each is tested alone against what was agreed, here against each other."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from service_harness import RunningService, at, token

from cb_trade_client import DataClient, RequestError
from cb_trade_simulator.faults import StatusFault


@pytest.fixture
def sdk(service: RunningService) -> DataClient:
    return DataClient(service.socket_url, token=token())


async def test_coverage_of_several_pages_is_one_report(sdk, client):
    await client.history(at("2021-01-01"), at("2023-01-01"), timeframe="30m")
    await client.history(at("2023-03-01"), at("2023-04-01"), timeframe="30m")

    report = await sdk.coverage("binance", "BTC/USDT", "30m")

    assert [(each.state, each.start, each.end) for each in report.segments] == [
        ("held", at("2021-01-01"), at("2023-01-01")),
        ("unknown", at("2023-01-01"), at("2023-03-01")),
        ("held", at("2023-03-01"), at("2023-04-01")),
    ]
    assert [each.bars for each in report.segments] == [2 * 365 * 48, 59 * 48, 31 * 48]
    assert (report.bars_expected, report.bars_held) == ((2 * 365 + 59 + 31) * 48, (2 * 365 + 31) * 48)


async def test_what_a_receipt_calls_a_gap_coverage_tells_with_the_same_facts(sdk, simulator):
    simulator.inject(StatusFault(503), times=None)
    span = ("2024-01-01T00:00:00Z", "2024-01-01T12:00:00Z")
    stream = sdk.stream("binance", "BTC/USDT", "1m", *span, on_gap="ignore")
    assert [batch async for batch in stream] == []

    report = await sdk.coverage("binance", "BTC/USDT", "1m")

    [gap], [segment] = stream.completed.gaps, report.segments
    assert (segment.state, segment.start, segment.end) == ("failed", gap.start, gap.end)
    assert (segment.reason, segment.asked_at) == (gap.reason, gap.asked_at)


async def test_bars_are_compared_with_what_their_trades_make_over_all_pages(sdk, client):
    for start in (at("2024-01-10"), at("2024-02-15")):
        end = start + timedelta(hours=6)
        await client.history(start, end, symbol="ADA/BTC", kind="trades", timeframe=None)
        await client.history(start, end, symbol="ADA/BTC", timeframe="5m")

    report = await sdk.compare("binance", "ADA/BTC", "5m", "2024-01-01T00:00:00Z", "2024-03-01T00:00:00Z")

    assert (report.start, report.end) == (at("2024-01-01"), at("2024-03-01"))
    assert (report.bars_compared, report.bars_that_differ, report.differences) == (144, 0, ())
    assert report.without_trades_ms == (60 * 24 - 12) * 3_600_000
    assert report.without_bars_ms == 0


async def test_series_and_exchanges_are_told(sdk, client):
    for timeframe in ("1h", "1d"):
        await client.history(at("2024-01-01"), at("2024-01-03"), timeframe=timeframe)

    exchange = (await sdk.exchanges())[0]
    series = await sdk.series()

    assert (exchange.name, exchange.state) == ("binance", "ok")
    assert [(each.timeframe, each.first_timestamp, each.last_timestamp) for each in series] == [
        ("1d", at("2024-01-01"), at("2024-01-02")),
        ("1h", at("2024-01-01"), at("2024-01-02T23:00")),
    ]


async def test_pages_follow_each_other(sdk, client):
    await client.history(at("2021-01-01"), at("2024-01-01"), timeframe="30m")

    pages = [page async for page in sdk.coverage_pages("binance", "BTC/USDT", "30m")]

    assert len(pages) > 1
    assert all(before.end == after.start for before, after in pairwise(pages))


async def test_a_refusal_has_the_class_of_its_code(sdk):
    with pytest.raises(RequestError) as caught:
        await sdk.coverage("binnance", "BTC/USDT", "1m")

    assert caught.value.code == "unknown_exchange"
    assert "binance" in caught.value.details["known"]


async def test_every_format_brings_the_same_rows_and_the_digest_of_the_service(service):
    span = ("2023-12-30T12:00:00Z", "2024-01-03T00:00:00Z")
    async with DataClient(service.socket_url, token=token()) as sdk:
        answers = [
            await sdk.history("binance", "BTC/USDT", "1m", *span, format=each, verify=True)
            for each in ("arrow", "json_columns", "json")
        ]

    assert len(answers[0]) == 84 * 60
    assert all(each.to_arrow().equals(answers[0].to_arrow()) for each in answers)
    assert {each.digest for each in answers} == {answers[0].receipt.digest}
    assert [each.receipt.exchange_calls > 0 for each in answers] == [True, False, False]


@pytest.mark.parametrize("timeframe", ["30m", "1h", "1d", "1w", "1M"])
async def test_both_compute_the_same_digest_for_every_unit(service, timeframe):
    async with DataClient(service.socket_url, token=token()) as sdk:
        span = ("2021-06-01T00:00:00Z", "2023-06-01T00:00:00Z")
        history = await sdk.history("binance", "BTC/USDT", timeframe, *span, verify=True, chunk_rows=7000)

    assert history.digest is not None
    assert len(history) > 0


async def test_a_stream_of_many_chunks_is_proven_too(service):
    async with DataClient(service.socket_url, token=token()) as sdk:
        stream = sdk.stream(
            "binance", "BTC/USDT", "1m", "2024-01-01T00:00:00Z", "2024-01-02T12:00:00Z", verify=True, chunk_rows=100
        )
        rows = [batch.num_rows async for batch in stream]

    assert (sum(rows), max(rows)) == (36 * 60, 100)


async def end_of(bearer: str, service: RunningService) -> None:
    """Return once *bearer* has ended, which a connection of its own tells: nobody renews that."""
    async with service.client(bearer) as other:
        assert await other.close_code() == 4401


async def test_a_function_as_token_renews_connections_that_are_open_before_it_expires(service):
    given: list[str] = []

    def new_token() -> str:
        given.append(token(lifetime=timedelta(seconds=3) if not given else timedelta(hours=1)))
        return given[-1]

    async with DataClient(service.socket_url, token=new_token) as sdk:
        await sdk.latest("binance", "BTC/USDT", "1m")
        await end_of(given[0], service)
        assert len(given) == 2

        await sdk.latest("binance", "BTC/USDT", "1m")

    assert len(given) == 2  # a new connection would have asked for a third


async def test_a_function_that_fails_to_renew_a_token_is_asked_again_for_the_next_connection(service):
    given: list[str] = []

    def new_token() -> str:
        given.append(token(lifetime=timedelta(seconds=3)))
        if len(given) == 2:
            raise OSError("the provider is away")
        return given[-1]

    async with DataClient(service.socket_url, token=new_token) as sdk:
        await sdk.latest("binance", "BTC/USDT", "1m")
        await end_of(given[0], service)
        assert len(given) == 2

        while len(given) == 2:  # until our own connection has heard of its end, too
            await sdk.latest("binance", "BTC/USDT", "1m")
