"""Derived bars, fills and quality: the SDK and the service mean the same, also where connections are lost."""

from __future__ import annotations

import aiohttp
import pyarrow.compute as pc
import pytest
from service_harness import RunningService, at, token

from cb_trade_client import DataClient
from cb_trade_client.requests import FORMATS
from cb_trade_simulator.faults import StatusFault

PRICES = ("timestamp", "open", "high", "low", "close")
# The simulated exchange has quiet minutes here, and an hour without any trade.
QUIET = ("binance", "BTC/USDT", "5m", "2023-03-24T00:00:00Z", "2023-03-25T00:00:00Z")
HOURS = ("binance", "BTC/USDT", "1h")


@pytest.fixture
def sdk(service: RunningService) -> DataClient:
    return DataClient(service.socket_url, token=token())


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_bars_made_of_shorter_ones_are_those_of_the_exchange(sdk, wire_format):
    span = ("binance", "BTC/USDT", "4h", "2023-03-20T00:00:00Z", "2023-03-27T00:00:00Z")
    async with sdk:
        derived = await sdk.history(*span, derive=True, format=wire_format, verify=True)
        own = await sdk.history(*span, format=wire_format, verify=True)
        plan = await sdk.plan(*span, derive=True)
        latest = await sdk.latest(*span[:3], derive=True)

    assert (derived.started.derived_from, own.started.derived_from) == ("2h", None)
    assert (plan.derived_from, plan.exchange_calls) == ("2h", 0)
    assert latest.timestamp == at("2023-03-26T20:00")
    assert derived.to_arrow().select(PRICES).equals(own.to_arrow().select(PRICES))


@pytest.mark.parametrize("wire_format", FORMATS)
@pytest.mark.parametrize("fill", ["previous_close", "null"])
@pytest.mark.parametrize("derive", [False, True], ids=["own", "derived"])
async def test_a_fill_adds_synthetic_rows_and_proves_the_same_real_ones(sdk, wire_format, fill, derive):
    options = {"derive": derive, "format": wire_format, "verify": True}
    async with sdk:
        plain = await sdk.history(*QUIET, **options)
        filled = await sdk.history(*QUIET, fill=fill, **options)

    rows = filled.to_arrow()
    real = rows.filter(pc.invert(rows.column("synthetic"))).drop_columns(["synthetic"])
    assert real.to_pylist() == plain.to_arrow().to_pylist()
    assert filled.receipt.synthetic_rows == len(filled) - len(plain) > 0
    assert filled.digest == plain.digest


@pytest.mark.parametrize("fill", ["previous_close", "null"])
async def test_a_stream_that_begins_again_in_synthetic_time_goes_on_with_the_same_rows(sdk, fill):
    """Every part is lost after its second batch."""
    async with sdk:
        whole = await sdk.history(*QUIET, fill=fill, verify=True)
        stream = sdk.stream(*QUIET, fill=fill, verify=True, chunk_rows=5)
        batches = []
        async for batch in stream:
            batches.append(batch.to_pylist())
            if len(batches) % 2 == 0 and stream._part is not None:
                await stream._close_part()

    assert [row for batch in batches for row in batch] == whole.to_arrow().to_pylist()
    assert stream.completed.synthetic_rows == whole.receipt.synthetic_rows
    assert stream.completed.digest == whole.digest


async def test_scores_are_reckoned_as_the_service_reckons_them(sdk, service, simulator):
    async with sdk:
        await sdk.history(*HOURS, "2023-03-01T00:00:00Z", "2023-04-10T00:00:00Z")
        await sdk.history("binance", "BTC/USDT", "5m", "2023-03-01T00:00:00Z", "2023-03-08T00:00:00Z")
        simulator.inject(StatusFault(503), times=None)
        await sdk.history(*HOURS, "2023-04-10T00:00:00Z", "2023-04-11T00:00:00Z", on_gap="ignore")
        pages = [page async for page in sdk.quality_pages(*HOURS, details=True)]
        whole = await sdk.quality(*HOURS, details=True)

    told = await _pages_of(service, [page.start for page in pages])
    assert len(pages) == len(told) > 1
    for page, answer in zip(pages, told, strict=True):
        assert {name: getattr(page.scores, name) for name in answer["scores"]} == answer["scores"]
    assert (whole.evidence.expected_bars, whole.evidence.held_bars, whole.evidence.holes) == (41 * 24, 40 * 24, 1)
    assert [(gap.state, gap.bars) for gap in whole.gaps] == [("held", 1), ("failed", 24)]
    assert whole.evidence.compared_with == "5m"


async def _pages_of(service, starts):
    headers = {"Authorization": f"Bearer {token(scopes=['data:read'])}"}
    query = dict(zip(("exchange", "symbol", "timeframe"), HOURS, strict=True)) | {"details": "true"}
    answers = []
    async with aiohttp.ClientSession(headers=headers) as session:
        for start in starts:
            params = query | {"start_time": start.isoformat()}
            async with session.get(f"{service.http_url}/v1/quality", params=params) as response:
                answers.append(await response.json())
    return answers
