"""What a whole answer can be turned into, what happens about gaps, and how progress is told."""

import sys
from datetime import timedelta

import pytest

from cb_trade_client import DataClient, GapError, GapWarning, Progress

TOKEN = "good.token"


@pytest.fixture
def gap(start):
    first_ms = int(start.timestamp()) * 1000
    return {"start_time": first_ms, "end_time": first_ms + 120_000, "state": "failed", "reason": "timed out"}


async def history_of(service, start, end, **options):
    async with DataClient(service.url, token=TOKEN) as client:
        return await client.history("binance", "BTC/USDT", "1m", start, end, **options)


async def test_pandas_and_polars_get_the_same_rows(run_service, minute_bars, start, end):
    rows = minute_bars(250)
    history = await history_of(run_service(series=rows), start, end)

    pandas, polars = history.to_pandas(), history.to_polars()

    assert pandas["close"].tolist() == polars["close"].to_list() == [row["close"] for row in rows]
    assert pandas["timestamp"].iloc[0] == polars["timestamp"][0] == start
    assert len(history) == len(pandas) == len(polars) == 250


@pytest.mark.parametrize("name", ["pandas", "polars"])
async def test_without_the_library_the_extra_is_named(run_service, start, end, monkeypatch, name):
    history = await history_of(run_service(), start, end)
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(ImportError, match=rf"pip install 'cb-trade-client\[{name}\]'"):
        getattr(history, f"to_{name}")()


async def test_a_history_shows_what_it_is(run_service, minute_bars, start, end):
    history = await history_of(run_service(series=minute_bars(1440)), start, end)

    assert repr(history) == "<History of binance BTC/USDT 1m: 1,440 rows, 0 gaps>"
    assert [segment.state for segment in history.coverage] == ["held"]
    assert history.receipt.rows == 1440


async def test_gaps_warn_by_default(run_service, minute_bars, start, end, gap):
    service = run_service(series=minute_bars(5), gaps=[gap, gap])

    with pytest.warns(GapWarning, match=r"binance BTC/USDT 1m has gaps \(2 failed\), the first from 2024-01-01T00:00"):
        history = await history_of(service, start, end)

    assert len(history) == 5


async def test_gaps_can_be_an_error_that_has_them(run_service, minute_bars, start, end, gap):
    service = run_service(series=minute_bars(5), gaps=[gap])

    with pytest.raises(GapError) as caught:
        await history_of(service, start, end, on_gap="raise")

    assert caught.value.code == "gaps_found"
    assert [each.reason for each in caught.value.gaps] == ["timed out"]


async def test_gaps_can_be_ignored_and_no_gaps_are_no_error(run_service, minute_bars, start, end, gap):
    assert len((await history_of(run_service(gaps=[gap]), start, end, on_gap="ignore")).gaps) == 1
    assert (await history_of(run_service(), start, end, on_gap="raise")).gaps == ()


@pytest.mark.parametrize("wire_format", ["arrow", "json"])
async def test_progress_is_told_at_the_start_and_with_each_batch(run_service, minute_bars, start, end, wire_format):
    service = run_service(series=minute_bars(250), chunk_rows=100)
    told = []

    await history_of(service, start, end, on_progress=told.append, format=wire_format)

    assert [each.rows for each in told] == [0, 100, 200, 250]
    last = start + timedelta(minutes=250)
    assert told[0] == Progress(rows=0, bytes=0, estimated_rows=250, start=start, end=last, until=start)
    assert [each.until for each in told[1:]] == [start + timedelta(minutes=each) for each in (100, 200, 250)]
    assert 250 * 48 < told[-1].bytes < 250 * 200
