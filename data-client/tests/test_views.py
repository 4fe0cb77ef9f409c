"""Derived bars and honest fills through the SDK: what is real stays what it is, and what is not says so."""

from datetime import datetime, timedelta

import pytest

from cb_trade_client import DataClient, ProtocolError, RequestError, SyncDataClient
from cb_trade_client.digest import AnswerDigest
from cb_trade_client.requests import FORMATS
from cb_trade_client.schemas import schema_of

TOKEN = "good.token"
SERIES = ("binance", "BTC/USDT", "1m")
MINUTE_MS = 60_000
PRICES = ("open", "high", "low", "close")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("cb_trade_client.retrying._WAIT_MAX_SECS", 0)


@pytest.fixture
def holed(minute_bars):
    """The first hour of 2024 without its minutes 10 to 40."""
    return [row for minute, row in enumerate(minute_bars(60)) if not 10 <= minute < 40]


def telling_digests(service):
    """Let the service tell the digest of the real rows of each answer."""

    def edit(message):
        if message.get("type") == "historical_data_complete":
            asked = [each for each in service.requests if each.get("type") == "request_historical"][-1]
            rows = [row for row in service.series if row["timestamp"] >= to_ms(asked["start_time"])]
            digest = AnswerDigest("ohlcv", "1m")
            digest.add(service.batch_of(rows))
            message["digest"] = digest.text()
        return [message]

    service.edit = edit
    return service


def to_ms(text):
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def held(start, minutes):
    first = int(start.timestamp()) * 1000
    return [{"start_time": first, "end_time": first + minutes * MINUTE_MS, "state": "held", "bars": minutes}]


# --- What is sent ----------------------------------------------------------------------------------------------------


async def test_a_view_is_asked_for_in_the_contracts_words_and_else_not_mentioned(run_service, holed, start, end):
    service = run_service(series=holed, derived_from="1m")

    async with DataClient(service.url, token=TOKEN) as client:
        await client.history(*SERIES, start, end, derive=True, fill="null")
        await client.plan(*SERIES, start, end, derive=True, fill="previous_close")
        await client.history(*SERIES, start, end, derive=False, fill="none")
        await client.plan(*SERIES, start, end)
        await client.latest(*SERIES, derive=True)
        await client.wait_until(*SERIES, start, derive=True)
        await client.latest(*SERIES)

    viewed, planned, plain, plain_plan, latest, waiting, plain_latest = service.requests
    assert (viewed["derive"], viewed["fill"]) == (True, "null")
    assert (planned["derive"], planned["fill"]) == (True, "previous_close")
    assert (latest["derive"], waiting["derive"]) == (True, True)
    assert not {"derive", "fill"} & {*plain, *plain_plan, *plain_latest}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"fill": "zero"}, "fill"),
        ({"fill": None}, "fill"),
        ({"fill": "null", "kind": "trades", "timeframe": None}, "fill"),
        ({"derive": True, "kind": "trades", "timeframe": None}, "derive"),
    ],
    ids=str,
)
async def test_a_view_that_cannot_be_is_refused_before_any_call(run_service, start, end, asked, field):
    service = run_service()
    arguments = {"timeframe": "1m", "start": start, "end": end} | asked

    async with DataClient(service.url, token=TOKEN) as client:
        for ask in (client.history, client.plan):
            with pytest.raises(RequestError) as caught:
                await ask("binance", "BTC/USDT", **arguments)
            assert (caught.value.code, caught.value.details["field"]) == ("invalid_value", field)
    assert service.request_paths == []


# --- What arrives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_the_close_before_stands_in_synthetic_rows_and_nowhere_else(run_service, holed, start, end, wire_format):
    service = run_service(series=holed, chunk_rows=7)
    client = DataClient(service.url, token=TOKEN)

    history = await client.history(*SERIES, start, end, fill="previous_close", format=wire_format)

    table = history.to_arrow()
    assert table.schema.equals(schema_of("ohlcv", is_filled=True))
    assert table.column("synthetic").to_pylist() == [False] * 10 + [True] * 30 + [False] * 20
    assert {(*(row[name] for name in PRICES), row["volume"]) for row in table.slice(10, 30).to_pylist()} == {
        (*[holed[9]["close"]] * 4, 0.0)
    }
    assert [row["close"] for row in table.to_pylist() if not row["synthetic"]] == [row["close"] for row in holed]
    assert (history.receipt.synthetic_rows, history.receipt.rows, len(history)) == (30, 60, 60)


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_rows_without_values_are_null_in_every_frame(run_service, holed, start, end, wire_format):
    client = DataClient(run_service(series=holed).url, token=TOKEN)

    history = await client.history(*SERIES, start, end, fill="null", format=wire_format)

    rows = history.to_arrow().slice(10, 30).to_pylist()
    assert {(*(row[name] for name in (*PRICES, "volume")), row["synthetic"]) for row in rows} == {(*[None] * 5, True)}
    pandas, polars = history.to_pandas(), history.to_polars()
    assert (int(pandas["close"].isna().sum()), polars["close"].null_count()) == (30, 30)
    assert (pandas["synthetic"].dtype, int(pandas["synthetic"].sum()), polars["synthetic"].sum()) == ("bool", 30, 30)


async def test_without_a_fill_there_is_no_column_and_no_count(run_service, holed, start, end):
    history = await DataClient(run_service(series=holed).url, token=TOKEN).history(*SERIES, start, end)

    assert "synthetic" not in history.to_arrow().column_names
    assert history.receipt.synthetic_rows is None


async def test_what_bars_were_derived_from_is_told_by_the_start_and_by_the_plan(run_service, holed, start, end):
    service = run_service(series=holed, derived_from="1m")

    async with DataClient(service.url, token=TOKEN) as client:
        history = await client.history("coinbase", "BTC/USDT", "4h", start, end)
        plan = await client.plan("coinbase", "BTC/USDT", "4h", start, end)
        service.derived_from = None
        own = await client.history(*SERIES, start, end)

    assert (history.started.derived_from, plan.derived_from, own.started.derived_from) == ("1m", "1m", None)


def test_views_can_be_waited_for(run_service, holed, start, end):
    service = run_service(series=holed, derived_from="1m")

    with SyncDataClient(service.url, token=TOKEN) as client:
        assert client.history(*SERIES, start, end, fill="null").receipt.synthetic_rows == 30
        assert client.plan(*SERIES, start, end, derive=True).derived_from == "1m"
        with client.stream(*SERIES, start, end, fill="null", derive=True) as stream:
            assert sum(batch.num_rows for batch in stream) == 60
            assert stream.completed.synthetic_rows == 30


# --- What is believed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [29, 31, None], ids=str)
async def test_a_receipt_that_counts_other_synthetic_rows_is_not_believed(run_service, holed, start, end, told):
    def miscount(message):
        return [message | {"synthetic_rows": told} if "synthetic_rows" in message else message]

    client = DataClient(run_service(series=holed, edit=miscount).url, token=TOKEN)

    with pytest.raises(ProtocolError, match="30 arrived"):
        await client.history(*SERIES, start, end, fill="null")


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_rows_that_do_not_say_whether_they_are_synthetic_break_the_contract(
    run_service, minute_bars, start, end, wire_format
):
    """As a service would send them that passes over the fill."""
    service = run_service(series=minute_bars(5))
    answer = service.answer_history
    service.answer_history = lambda socket, request: answer(
        socket, {name: value for name, value in request.items() if name != "fill"}
    )

    with pytest.raises(ProtocolError):
        await DataClient(service.url, token=TOKEN).history(*SERIES, start, end, fill="null", format=wire_format)


@pytest.mark.parametrize("wire_format", FORMATS)
@pytest.mark.parametrize("fill", ["none", "previous_close", "null"])
async def test_the_digest_proves_the_real_rows_the_same_with_any_fill(
    run_service, holed, start, end, wire_format, fill
):
    service = telling_digests(run_service(series=holed, chunk_rows=7))
    client = DataClient(service.url, token=TOKEN)
    expected = (await client.history(*SERIES, start, end)).digest

    history = await client.history(*SERIES, start, end, fill=fill, format=wire_format, verify=True)

    assert history.digest == expected


async def test_a_real_row_that_is_another_one_is_found_among_synthetic_ones(run_service, holed, start, end):
    service = telling_digests(run_service(series=holed))
    tell_digest = service.edit

    def change(message):
        if message["type"] == "historical_data_chunk":
            message["data"][45]["close"] += 1
        return tell_digest(message)

    service.edit = change

    with pytest.raises(ProtocolError) as caught:
        await DataClient(service.url, token=TOKEN).history(*SERIES, start, end, fill="null", format="json", verify=True)
    assert caught.value.code == "digest_mismatch"


# --- After a lost connection -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", [False, True], ids=["trusting", "verifying"])
@pytest.mark.parametrize("wire_format", FORMATS)
@pytest.mark.parametrize("fill", ["previous_close", "null"])
async def test_a_drop_anywhere_changes_no_row(run_service, holed, start, end, fill, wire_format, verify):
    """Also inside a run of synthetic rows: no service knows the close before a range for certain."""
    service = telling_digests(run_service(series=holed, chunk_rows=4, segments=held(start, 60)))
    client = DataClient(service.url, token=TOKEN, retries=50)
    options = {"fill": fill, "format": wire_format, "verify": verify}
    whole = await client.history(*SERIES, start, end, **options)

    service.drop_after_chunks = 9
    dropped = await client.history(*SERIES, start, end, **options)

    assert dropped.to_arrow().equals(whole.to_arrow())
    assert (dropped.receipt.rows, dropped.receipt.synthetic_rows) == (60, 30)
    assert dropped.receipt.resumes >= 1
    assert dropped.digest == (whole.digest if verify else None)


async def test_after_a_drop_only_the_rows_since_the_last_real_one_come_again(run_service, holed, start, end):
    service = run_service(series=holed, chunk_rows=10, segments=held(start, 60))
    interrupt = service.interrupt

    def drop_once(socket, request, sequence):
        service.drop_after_chunks = 3 if len(service.requests) == 1 else None
        return interrupt(socket, request, sequence)

    service.interrupt = drop_once

    stream = DataClient(service.url, token=TOKEN).stream(*SERIES, start, end, fill="previous_close")
    seen = [(batch.num_rows, batch.column("timestamp")[0].as_py() - start) async for batch in stream]

    _, second, coverage = service.requests
    assert (second["start_time"], second["fill"]) == ("2024-01-01T00:09:00Z", "previous_close")
    assert coverage["end_time"] == "2024-01-01T00:09:00Z"
    assert sum(rows for rows, _ in seen) == stream.completed.rows == 60
    # The second part begins at minute 9: its first two chunks have come before, the third one but for a minute.
    assert seen[3] == (9, timedelta(minutes=30))


async def test_a_lost_receipt_of_filled_rows_is_made_up_for(run_service, holed, start, end):
    service = telling_digests(run_service(series=holed, drop_receipts=1, segments=held(start, 60)))

    history = await DataClient(service.url, token=TOKEN).history(
        *SERIES, start, end, fill="previous_close", verify=True
    )

    assert (history.receipt.rows, history.receipt.synthetic_rows, history.digest is not None) == (60, 30, True)


async def test_before_the_drop_derived_bars_are_covered_by_those_they_are_made_of(run_service, holed, start, end):
    service = run_service(series=holed, chunk_rows=10, drop_after_chunks=2, segments=held(start, 60), derived_from="1m")

    history = await DataClient(service.url, token=TOKEN).history("coinbase", "BTC/USDT", "4h", start, end)

    assert history.receipt.resumes >= 1
    [coverage] = [each for each in service.requests if "type" not in each]
    assert coverage["timeframe"] == "1m"


async def test_bars_made_of_others_are_never_taken_for_the_rest(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(60), chunk_rows=10, drop_after_chunks=2, derived_from="1m")

    def derive_otherwise(message):
        if message["type"] == "historical_data_start" and len(service.requests) > 1:
            message["derived_from"] = "5m"
        return [message]

    service.edit = derive_otherwise

    with pytest.raises(ProtocolError, match="bars made of 1m, the service has 5m"):
        await DataClient(service.url, token=TOKEN).history("coinbase", "BTC/USDT", "4h", start, end)
