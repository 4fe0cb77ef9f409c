"""Kinds without bars: trades, funding rates and order books arrive value for value, in every format."""

import math
import struct
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import groupby

import pyarrow as pa
import pytest

from cb_trade_client import DataClient, ProtocolError, RequestError
from cb_trade_client.decoders.arrow_stream import ArrowStreamDecoder
from cb_trade_client.digest import AnswerDigest
from cb_trade_client.requests import FORMATS
from cb_trade_client.schemas import FUNDING_RATE, ORDER_BOOK, TRADES, schema_of

TOKEN = "good.token"
DAY_MS = 86_400_000
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
START_MS = 1_704_067_200_000


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("cb_trade_client.retrying._WAIT_MAX_SECS", 0)


@pytest.fixture(params=["trades", "funding_rate", "order_book"])
def kind(request):
    return request.param


@pytest.fixture
def rows(kind, made_trades, made_funding, made_books):
    """Some rows of the kind."""
    return {"trades": made_trades, "funding_rate": made_funding, "order_book": made_books}[kind](250)


def of(kind):
    return ("binance", "BTC/USDT:USDT", None, START, END), {"kind": kind}


def told(table):
    """Return the rows of a table as the format `json` has them."""
    return table.set_column(0, "timestamp", table.column("timestamp").cast(pa.int64())).to_pylist()


def by_hand(rows, unit_of):
    """Return the digest by the words of the contract, one value after the other."""
    units = sha256()
    for _, unit in groupby(rows, lambda row: unit_of(row["timestamp"])):
        columns = {name: [] for name in rows[0]}
        for row in unit:
            for name, value in row.items():
                columns[name].append(value)
        packed = b"".join(struct.pack("<q", time) for time in columns.pop("timestamp"))
        for values in columns.values():
            packed += b"".join(lengths_of(values)) + b"".join(map(packed_value, values))
        units.update(sha256(packed).digest())
    return f"v1:{units.hexdigest()}"


def lengths_of(values):
    if isinstance(values[0], str):
        return [struct.pack("<q", len(value.encode())) for value in values]
    return [struct.pack("<q", len(value)) for value in values if isinstance(value, list)]


def packed_value(value):
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return b"".join(map(packed_value, value))
    return struct.pack("<d", math.nan if value is None else value + 0.0)


UNIT_OF = {
    "trades": lambda ms: ms // DAY_MS,
    "order_book": lambda ms: ms // DAY_MS,
    "funding_rate": lambda ms: datetime.fromtimestamp(ms / 1000, UTC).year,
}


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_every_row_arrives_with_its_values_in_each_format(run_service, kind, rows, wire_format):
    service = run_service(series=rows, chunk_rows=100)
    named, what = of(kind)

    async with DataClient(service.url, token=TOKEN) as client:
        history = await client.history(*named, **what, format=wire_format)

    assert history.to_arrow().schema.equals(schema_of(kind))
    assert told(history.to_arrow()) == rows
    assert (history.started.timeframe, history.started.estimated_rows) == (None, None)
    assert repr(history) == f"<History of binance BTC/USDT:USDT {kind}: 250 rows, 0 gaps>"
    assert "timeframe" not in service.requests[0]


async def test_rows_of_one_time_are_one_batch_and_time_moves_on_between_batches(run_service, made_trades):
    service = run_service(series=made_trades(250), chunk_rows=100)
    named, what = of("trades")

    async with DataClient(service.url, token=TOKEN).stream(*named, **what) as stream:
        batches = [batch async for batch in stream]

    assert [batch.num_rows for batch in batches] == [102, 102, 46]
    assert batches[0].column("id").to_pylist()[-3:] == ["107", "108", "109"]


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_time_that_does_not_move_on_between_chunks_breaks_the_contract(run_service, made_trades, wire_format):
    service = run_service(series=made_trades(3))

    def twice(message):
        if message["type"] != "historical_data_chunk":
            return [message]
        return [message, message | {"sequence": 1}]

    service.edit, service.edit_binary = twice, lambda binary: [] if wire_format == "arrow" else [binary]
    named, what = of("trades")

    with pytest.raises(ProtocolError):
        await DataClient(service.url, token=TOKEN).history(*named, **what, format=wire_format)


@pytest.mark.parametrize("wire_format", ["json", "json_columns"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("id", None), ("id", 7), ("side", None), ("price", "1.5"), ("price", None), ("timestamp", None)],
)
async def test_a_value_that_a_trade_cannot_have_breaks_the_contract(run_service, made_trades, wire_format, name, value):
    named, what = of("trades")

    def spoil(message):
        if message["type"] == "historical_data_chunk" and wire_format == "json":
            message["data"][1][name] = value
        elif message["type"] == "historical_data_chunk":
            message["data"][name][1] = value
        return [message]

    service = run_service(series=made_trades(3), edit=spoil)
    with pytest.raises(ProtocolError):
        await DataClient(service.url, token=TOKEN).history(*named, **what, format=wire_format)


@pytest.mark.parametrize("text", [b"\xff\xfe", "é".encode()[:1]])
async def test_texts_that_are_no_utf_8_break_the_contract(run_service, made_trades, text):
    service = run_service(series=made_trades(3))
    named, what = of("trades")
    service.edit_binary = lambda binary: [binary.replace(b"buysellbuy", (text + b"buysellbuy")[:10])]

    with pytest.raises(ProtocolError):
        await DataClient(service.url, token=TOKEN).history(*named, **what)


@pytest.mark.parametrize("texts", [["a", "b"], ["é", "ß"], ["", ""], ["1", "é" * 50]])
def test_texts_arrive_as_they_are_whatever_their_letters(texts):
    assert decoded(pa.array(texts)).column("id").to_pylist() == texts


@pytest.mark.parametrize("places", [[0, 9, 2], [0, -1, 2], [1, 0, 2]])
def test_texts_that_do_not_lie_one_behind_the_other_break_the_contract(places):
    texts = pa.StringArray.from_buffers(2, pa.array(places, pa.int32()).buffers()[1], pa.py_buffer(b"ab"))

    with pytest.raises(ProtocolError):
        decoded(texts)


def decoded(ids):
    """Return what the decoder makes of two trades with these *ids*."""
    others = [pa.array([1, 2]).cast(TRADES.field("timestamp").type), ids, pa.array(["buy", "sell"])]
    batch = pa.RecordBatch.from_arrays([*others, pa.array([1.0, 2.0]), pa.array([1.0, 2.0])], schema=TRADES)
    binary = TRADES.serialize().to_pybytes() + batch.serialize().to_pybytes()
    return ArrowStreamDecoder(TRADES).decode({"sequence": 0}, memoryview(binary))


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_the_digest_is_that_of_the_contract_whatever_the_chunks(kind, rows, size):
    if kind == "trades":
        rows = [
            row | {"timestamp": START_MS + number * 3_000_000, "id": "é" * (number % 4)}
            for number, row in enumerate(rows)
        ]
    if kind == "funding_rate":
        rows = [row | {"timestamp": START_MS + number * 3 * DAY_MS} for number, row in enumerate(rows)]
    digest = AnswerDigest(kind, None)

    for first in range(0, len(rows), size):
        batch = pa.RecordBatch.from_pylist(rows[: first + size], schema_of(kind))
        digest.add(batch.slice(first))  # as readers may hand on parts of larger memory

    assert digest.text() == by_hand(rows, UNIT_OF[kind])


def test_values_that_compare_equal_have_one_digest():
    def digest_of(rate, mark_price):
        digest = AnswerDigest("funding_rate", None)
        rows = [{"timestamp": 0, "rate": rate, "mark_price": mark_price}]
        digest.add(pa.RecordBatch.from_pylist(rows, FUNDING_RATE))
        return digest.text()

    assert digest_of(-0.0, None) == digest_of(0.0, math.nan)
    assert digest_of(0.0, 0.0) != digest_of(0.0, None)


def test_where_one_text_ends_and_the_next_begins_is_part_of_the_digest():
    def digest_of(*ids):
        rows = [{"timestamp": 0, "id": each, "side": "buy", "price": 1.0, "amount": 1.0} for each in ids]
        digest = AnswerDigest("trades", None)
        digest.add(pa.RecordBatch.from_pylist(rows, TRADES))
        return digest.text()

    assert digest_of("1", "23") != digest_of("12", "3")


def test_which_price_belongs_to_which_row_is_part_of_the_digest():
    def digest_of(*bids):
        rows = [{"timestamp": number, "bids": each, "asks": [], "nonce": 1} for number, each in enumerate(bids)]
        digest = AnswerDigest("order_book", None)
        digest.add(pa.RecordBatch.from_pylist(rows, ORDER_BOOK))
        return digest.text()

    one, two = [1.0, 2.0], [3.0, 4.0]
    assert digest_of([one], [two]) != digest_of([one, two], [])


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_a_digest_that_fits_proves_the_rows_and_another_one_does_not(run_service, kind, rows, wire_format):
    right = by_hand(rows, UNIT_OF[kind])

    def tell(message):
        return [message | {"digest": right} if message["type"] == "historical_data_complete" else message]

    service = run_service(series=rows, edit=tell)
    named, what = of(kind)
    client = DataClient(service.url, token=TOKEN)

    assert (await client.history(*named, **what, format=wire_format, verify=True)).digest == right
    service.series = rows[:-1]
    with pytest.raises(ProtocolError) as caught:
        await client.history(*named, **what, format=wire_format, verify=True)
    assert caught.value.code == "digest_mismatch"


async def test_a_stream_goes_on_behind_the_last_millisecond_that_came(run_service, kind, rows):
    held = {"start_time": START_MS, "end_time": START_MS + 200 * DAY_MS, "state": "held", "bars": None}
    service = run_service(series=rows, chunk_rows=100, drop_after_chunks=1, segments=[held])
    named, what = of(kind)

    history = await DataClient(service.url, token=TOKEN).history(*named, **what)

    assert told(history.to_arrow()) == rows
    asked = [each for each in service.requests if each.get("type") == "request_historical"]
    [first, second, *_] = [datetime.fromisoformat(each["start_time"]) for each in asked]
    last_of_first_chunk = rows[101 if kind == "trades" else 99]["timestamp"]
    assert second - START == timedelta(milliseconds=last_of_first_chunk + 1 - START_MS)
    assert first == START
    [coverage] = [each for each in service.requests if "type" not in each]
    assert (coverage["kind"], "timeframe" in coverage) == (kind, False)
    assert history.receipt.resumes >= 1


async def test_the_receipt_of_trades_that_was_lost_is_made_up_for(run_service, made_trades):
    rows = made_trades(30)
    held = {"start_time": START_MS, "end_time": START_MS + 200 * DAY_MS, "state": "held", "bars": None}

    def tell(message):
        if message.get("type") == "historical_data_complete":
            asked = datetime.fromisoformat(service.requests[-1]["start_time"])
            rest = [row for row in rows if row["timestamp"] >= asked.timestamp() * 1000]
            message["digest"] = by_hand(rest, UNIT_OF["trades"])
        return [message]

    service = run_service(series=rows, segments=[held], drop_receipts=1, edit=tell)
    named, what = of("trades")

    history = await DataClient(service.url, token=TOKEN).history(*named, **what, verify=True)

    assert told(history.to_arrow()) == rows
    assert history.digest == by_hand(rows, UNIT_OF["trades"])


async def test_progress_tells_how_far_in_time_rows_have_come(run_service, made_trades):
    service = run_service(series=made_trades(250), chunk_rows=100)
    seen = []
    named, what = of("trades")

    await DataClient(service.url, token=TOKEN).history(*named, **what, on_progress=seen.append)

    assert [(each.rows, each.estimated_rows) for each in seen] == [(0, None), (102, None), (204, None), (250, None)]
    assert [each.until for each in seen[:2]] == [START, START + timedelta(seconds=33 * 20, milliseconds=1)]
    assert {(each.start, each.end) for each in seen} == {(START, END)}


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_no_rows_make_an_empty_table_of_the_kinds_schema(run_service, kind, wire_format):
    named, what = of(kind)

    history = await DataClient(run_service().url, token=TOKEN).history(*named, **what, format=wire_format)

    assert history.to_arrow().schema.equals(schema_of(kind))
    assert len(history) == 0


async def test_the_small_questions_name_the_kind(run_service, made_trades):
    service = run_service(series=made_trades(3))
    named = ("binance", "BTC/USDT", None)

    async with DataClient(service.url, token=TOKEN) as client:
        latest = await client.latest(*named, kind="trades")
        await client.wait_until(*named, START, kind="trades")
        await client.plan(*named, START, END, kind="trades")
        await client.coverage(*named, kind="trades")

    assert latest.timestamp == START
    assert [request["kind"] for request in service.requests] == ["trades"] * 4
    assert [request for request in service.requests if "timeframe" in request] == []


async def test_a_timeframe_of_a_kind_without_bars_is_refused_before_any_call(run_service, kind):
    service = run_service()
    client = DataClient(service.url, token=TOKEN)

    for ask in (client.latest, client.coverage):
        with pytest.raises(RequestError, match="has no bars") as caught:
            await ask("binance", "BTC/USDT", "1m", kind=kind)
        assert caught.value.code == "invalid_value"
    for ask in (client.history, client.plan):
        with pytest.raises(RequestError, match="has no bars"):
            await ask("binance", "BTC/USDT", "1m", START, END, kind=kind)
    assert service.request_paths == []


async def test_coverage_of_a_kind_without_bars_counts_none(run_service):
    segments = [
        {"start_time": START_MS, "end_time": START_MS + DAY_MS, "state": "held", "bars": None},
        {"start_time": START_MS + DAY_MS, "end_time": START_MS + 2 * DAY_MS, "state": "held", "bars": None},
        {"start_time": START_MS + 2 * DAY_MS, "end_time": START_MS + 3 * DAY_MS, "state": "empty", "bars": None},
    ]
    service = run_service(segments=segments, page_size=1)

    report = await DataClient(service.url, token=TOKEN).coverage("binance", "BTC/USDT", None, kind="trades")

    assert (report.kind, report.timeframe, report.bars_expected, report.bars_held) == ("trades", None, None, None)
    assert [(each.state, each.bars) for each in report.segments] == [("held", None), ("empty", None)]
