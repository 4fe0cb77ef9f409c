"""The digest: computed from what arrives, the same whatever the chunks, and compared with what the service tells."""

import math
import struct
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby

import pyarrow as pa
import pytest

from cb_trade_client import DataClient, ProtocolError
from cb_trade_client.digest import AnswerDigest
from cb_trade_client.schemas import OHLCV

TOKEN = "good.token"
DAY_MS = 86_400_000


def expected(rows, unit_of):
    """The digest by the words of the contract, one value after the other."""
    units = sha256()
    for _, unit in groupby(rows, lambda row: unit_of(row["timestamp"])):
        unit_rows = list(unit)
        digest = sha256()
        for name in OHLCV.names:
            for row in unit_rows:
                digest.update(packed(name, row[name]))
        units.update(digest.digest())
    return f"v1:{units.hexdigest()}"


def packed(name, value):
    if name == "timestamp":
        return struct.pack("<q", value)
    if value is None or math.isnan(value):
        return struct.pack("<Q", 0x7FF8000000000000)
    return struct.pack("<d", value + 0.0)


def rows_every(step_ms, count, first_ms=1704067200000 - DAY_MS // 2):
    values = [1.5, -0.0, None, math.nan, 0.1]
    return [
        {"timestamp": first_ms + number * step_ms}
        | {name: values[(number + place) % 5] for place, name in enumerate(OHLCV.names[1:])}
        for number in range(count)
    ]


def batches(rows, size):
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        columns = [pa.array([row[field.name] for row in part], field.type, from_pandas=False) for field in OHLCV]
        yield pa.RecordBatch.from_arrays(columns, schema=OHLCV)


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
@pytest.mark.parametrize(
    ("timeframe", "step_ms", "unit_of"),
    [
        ("1m", 60_000, lambda ms: ms // DAY_MS),
        ("30m", 1_800_000, lambda ms: ms // DAY_MS),
        ("1h", 3_600_000, lambda ms: datetime.fromtimestamp(ms / 1000, UTC).year),
        ("1d", DAY_MS, lambda ms: datetime.fromtimestamp(ms / 1000, UTC).year),
    ],
)
def test_it_is_that_of_the_contract_whatever_the_chunks(size, timeframe, step_ms, unit_of):
    rows = rows_every(step_ms, 3000)
    digest = AnswerDigest("ohlcv", timeframe)

    for batch in batches(rows, size):
        digest.add(batch)

    assert digest.text() == expected(rows, unit_of)


def test_nothing_has_a_digest_too():
    assert AnswerDigest("ohlcv", "1m").text() == f"v1:{sha256().hexdigest()}"


def telling(digest):
    def edit(message):
        if message["type"] == "historical_data_complete":
            message["digest"] = digest
        return [message]

    return edit


@pytest.mark.parametrize("wire_format", ["arrow", "json_columns", "json"])
async def test_a_digest_that_fits_is_kept(run_service, minute_bars, start, end, wire_format):
    rows = minute_bars(1440)
    told = expected(rows, lambda ms: ms // DAY_MS)
    service = run_service(series=rows, edit=telling(told))

    client = DataClient(service.url, token=TOKEN)
    history = await client.history("x", "BTC/USDT", "1m", start, end, verify=True, format=wire_format)

    assert history.digest == told


async def test_a_wrong_digest_is_a_protocol_error(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(1440), edit=telling("v1:" + "0" * 64))
    client = DataClient(service.url, token=TOKEN)

    with pytest.raises(ProtocolError) as caught:
        await client.history("x", "BTC/USDT", "1m", start, end, verify=True)

    assert caught.value.code == "digest_mismatch"
    assert len(await client.history("x", "BTC/USDT", "1m", start, end)) == 1440


@pytest.mark.parametrize("told", [None, "v2:1234"])
async def test_a_digest_that_cannot_be_compared_is_no_proof(run_service, minute_bars, start, end, told):
    service = run_service(series=minute_bars(10), edit=telling(told))

    with pytest.raises(ProtocolError) as caught:
        await DataClient(service.url, token=TOKEN).history("x", "BTC/USDT", "1m", start, end, verify=True)

    assert caught.value.code == "digest_missing"
