"""The `cb-trade` command, run in this process against the fake service."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cb_trade_client import gaps_of
from cb_trade_client.main import build_app

TOKEN = "good.token"
OUT_OF_ORDER = {"code": "internal_error", "message": "something broke"}
SERIES = ("binance", "BTC/USDT", "1m")
JANUARY_FIRST = ("--start", "2024-01-01", "--end", "2024-01-02")
HEADER = "timestamp,open,high,low,close,volume"


@pytest.fixture
def cb_trade(monkeypatch, tmp_path):
    """Run `cb-trade` with some arguments in an empty folder; a service in them stands for its URL and token."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CB_TRADE_CLIENT__URL", raising=False)
    monkeypatch.delenv("CB_TRADE_CLIENT__TOKEN", raising=False)

    def run(*arguments, service=None):
        access = ("--url", service.url, "--token", TOKEN) if service else ()
        return CliRunner().invoke(build_app(()), [*arguments, *access])

    return run


def test_fetch_writes_csv_to_stdout_and_nothing_else(cb_trade, run_service, minute_bars):
    service = run_service(series=minute_bars(250), chunk_rows=100)

    result = cb_trade("fetch", *SERIES, *JANUARY_FIRST, service=service)

    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == HEADER
    assert lines[1] == "2024-01-01T00:00:00.000Z,100,101.5,99.25,100.5,0"
    assert lines[-1].startswith("2024-01-01T04:09:00.000Z,349,")
    assert len(lines) == 1 + 250


def test_fetch_without_rows_writes_the_header(cb_trade, run_service):
    result = cb_trade("fetch", *SERIES, *JANUARY_FIRST, service=run_service())

    assert (result.exit_code, result.stdout) == (0, f"{HEADER}\n")


def test_fetch_tells_rows_sources_and_calls_on_stderr(cb_trade, run_service, minute_bars):
    result = cb_trade("fetch", *SERIES, *JANUARY_FIRST, service=run_service(series=minute_bars(1200)))

    assert "1,200 rows in " in result.stderr
    assert "0 from storage, 1,200 from the exchange in 2 calls" in result.stderr


def test_fetch_lists_gaps_with_state_and_reason_up_to_a_bound(cb_trade, run_service, minute_bars, start):
    first_ms = int(start.timestamp()) * 1000
    gap = {"start_time": first_ms, "end_time": first_ms + 60_000, "state": "failed", "reason": "HTTP 503 [twice]"}
    service = run_service(series=minute_bars(3), gaps=[gap] * 12)

    result = cb_trade("fetch", *SERIES, *JANUARY_FIRST, "--quiet", service=service)

    lines = result.stderr.splitlines()
    assert lines[0] == "gap 2024-01-01T00:00:00Z … 2024-01-01T00:01:00Z failed: HTTP 503 [twice]"
    assert lines[10:] == ["… and 2 more gaps"]
    assert result.exit_code == 0


def test_fetch_into_parquet_keeps_values_and_gaps(cb_trade, run_service, minute_bars, tmp_path, start):
    first_ms = int(start.timestamp()) * 1000
    gap = {"start_time": first_ms, "end_time": first_ms + 60_000, "state": "empty"}
    service = run_service(series=minute_bars(250), gaps=[gap])

    result = cb_trade("fetch", *SERIES, *JANUARY_FIRST, "-o", "bars.parquet", service=service)

    table = pq.read_table(tmp_path / "bars.parquet")
    assert (result.exit_code, result.stdout) == (0, "")
    assert table.column("close").to_pylist() == [row["close"] for row in minute_bars(250)]
    assert str(table.schema.field("timestamp").type) == "timestamp[ms, tz=UTC]"
    assert [known.state for known in gaps_of(table)] == ["empty"]
    assert [path.name for path in tmp_path.iterdir()] == ["bars.parquet"]


def test_fetch_into_csv_writes_the_same_as_stdout(cb_trade, run_service, minute_bars, tmp_path):
    service = run_service(series=minute_bars(250))

    cb_trade("fetch", *SERIES, *JANUARY_FIRST, "-o", "BARS.CSV", service=service)
    to_stdout = cb_trade("fetch", *SERIES, *JANUARY_FIRST, service=service).stdout

    assert (tmp_path / "BARS.CSV").read_text() == to_stdout
    assert csv.read_csv(tmp_path / "BARS.CSV").column("volume").to_pylist() == [
        row["volume"] for row in minute_bars(250)
    ]


@pytest.mark.parametrize("name", ["bars.csv", "bars.parquet"])
def test_a_failed_fetch_leaves_the_older_file_and_no_half_one(cb_trade, run_service, minute_bars, tmp_path, name):
    (tmp_path / name).write_text("older")
    service = run_service(series=minute_bars(250), chunk_rows=100, error=OUT_OF_ORDER, error_after_chunks=2)

    result = cb_trade("fetch", *SERIES, *JANUARY_FIRST, "-o", name, service=service)

    assert result.exit_code == 1
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "older")]


def test_an_interrupted_csv_tells_where_to_go_on(cb_trade, run_service, minute_bars):
    service = run_service(series=minute_bars(250), chunk_rows=100, error=OUT_OF_ORDER, error_after_chunks=2)

    result = cb_trade("fetch", *SERIES, *JANUARY_FIRST, service=service)

    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1 + 200
    assert "go on with --start 2024-01-01T03:20:00Z" in result.stderr
    assert "[internal_error]" in result.stderr


def test_fetch_draws_a_chart_on_stderr(cb_trade, run_service, minute_bars):
    result = cb_trade("fetch", *SERIES, *JANUARY_FIRST, "--chart", service=run_service(series=minute_bars(250)))

    assert "binance BTC/USDT 1m, close" in result.stderr
    assert "└" in result.stderr
    assert "└" not in result.stdout


@pytest.mark.parametrize(("kind", "column"), [("trades", "price"), ("funding_rate", "rate")])
def test_fetch_of_a_kind_without_bars_names_it_in_place_of_the_timeframe(
    cb_trade, run_service, made_trades, made_funding, tmp_path, kind, column
):
    rows = {"trades": made_trades, "funding_rate": made_funding}[kind](30)
    service = run_service(series=rows)
    asked = ("fetch", "binance", "BTC/USDT:USDT", kind, "--start", "2024-01-01", "--end", "2024-02-01")

    to_file = cb_trade(*asked, "-o", "rows.parquet", "--chart", service=service)
    to_stdout = cb_trade(*asked, service=service)

    assert (service.requests[0]["kind"], "timeframe" in service.requests[0]) == (kind, False)
    assert pq.read_table(tmp_path / "rows.parquet").column(column).to_pylist() == [row[column] for row in rows]
    assert f"binance BTC/USDT:USDT {kind}, {column}" in to_file.stderr
    assert to_stdout.stdout.splitlines()[0] == ",".join(rows[0])
    assert len(to_stdout.stdout.splitlines()) == 1 + 30
    assert "30 rows in " in to_stdout.stderr


def test_there_is_no_chart_of_order_books(cb_trade, run_service):
    service = run_service()

    result = cb_trade("fetch", "binance", "BTC/USDT", "order_book", *JANUARY_FIRST, "--chart", service=service)

    assert result.exit_code == 2
    assert "no chart of order_book" in " ".join(result.stderr.replace("│", " ").split())
    assert service.request_paths == []


def test_latest_and_plan_take_a_kind_without_bars(cb_trade, run_service, made_trades):
    service = run_service(series=made_trades(3))

    latest = cb_trade("latest", "binance", "BTC/USDT", "trades", service=service)
    plan = cb_trade("plan", "binance", "BTC/USDT", "trades", *JANUARY_FIRST, service=service)

    assert latest.stdout.splitlines()[0] == "newest stored row  2024-01-01T00:00:00Z"
    assert plan.exit_code == 0
    assert plan.stdout.splitlines()[1] == "exchange calls   at least 2"
    assert [(each["kind"], "timeframe" in each) for each in service.requests] == [("trades", False)] * 2


@pytest.fixture
def holed(minute_bars):
    """The first ten minutes of 2024 without the third one."""
    return [row for minute, row in enumerate(minute_bars(10)) if minute != 2]


def test_a_filled_fetch_marks_synthetic_rows_in_csv_and_counts_them(cb_trade, run_service, holed, tmp_path):
    service = run_service(series=holed)
    asked = ("fetch", *SERIES, *JANUARY_FIRST, "--fill", "previous_close")

    to_stdout = cb_trade(*asked, service=service)
    cb_trade(*asked, "-o", "bars.csv", service=service)

    lines = to_stdout.stdout.splitlines()
    assert lines[0] == f"{HEADER},synthetic"
    assert lines[2:5] == [
        "2024-01-01T00:01:00.000Z,101,102.5,100.25,101.5,0.1,false",
        "2024-01-01T00:02:00.000Z,101.5,101.5,101.5,101.5,0,true",
        "2024-01-01T00:03:00.000Z,103,104.5,102.25,103.5,0.30000000000000004,false",
    ]
    assert to_stdout.stderr.startswith("10 rows, 1 of them synthetic, in ")
    assert (tmp_path / "bars.csv").read_text() == to_stdout.stdout


def test_rows_without_values_are_empty_cells_in_csv_and_nulls_in_parquet(cb_trade, run_service, holed, tmp_path):
    service = run_service(series=holed)
    asked = ("fetch", *SERIES, *JANUARY_FIRST, "--fill", "null", "--chart")

    to_stdout = cb_trade(*asked, service=service)
    to_file = cb_trade(*asked, "-o", "bars.parquet", service=service)

    assert to_stdout.stdout.splitlines()[3] == "2024-01-01T00:02:00.000Z,,,,,,true"
    assert "10 rows, 1 of them synthetic, into bars.parquet in " in to_file.stderr
    table = pq.read_table(tmp_path / "bars.parquet")
    assert table.column("synthetic").to_pylist() == [minute == 2 for minute in range(10)]
    assert table.column("close").null_count == 1


def test_fetch_and_plan_tell_what_bars_are_made_of(cb_trade, run_service, minute_bars):
    service = run_service(series=minute_bars(3), derived_from="1h")
    asked = ("coinbase", "BTC/USDT", "4h", *JANUARY_FIRST)

    fetched = cb_trade("fetch", *asked, "--derive", service=service)
    planned = cb_trade("plan", *asked, "--derive", "--fill", "null", service=service)

    assert [(each["derive"], each.get("fill")) for each in service.requests] == [(True, None), (True, "null")]
    assert "s: derived from 1h, 0 from storage, 3 from the exchange in 1 calls" in fetched.stderr
    assert planned.stdout.splitlines()[:2] == ["derived from     1h", "rows in storage  7"]


def test_fetch_passes_refresh_on(cb_trade, run_service):
    service = run_service()

    cb_trade("fetch", *SERIES, *JANUARY_FIRST, "--refresh", service=service)

    assert service.requests[0]["refresh"] is True


def test_times_without_a_zone_are_utc_and_the_end_is_clipped_by_the_service_and_not_by_our_clock(cb_trade, run_service):
    service = run_service()
    before = datetime.now(UTC)

    cb_trade("fetch", *SERIES, "--start", "2024-01-01T12:30", service=service)
    cb_trade("fetch", *SERIES, "--start", "2024-01-01T12:30+02:00", service=service)

    assert service.requests[0]["start_time"] == "2024-01-01T12:30:00Z"
    assert service.requests[1]["start_time"] == "2024-01-01T10:30:00Z"
    asked_end = datetime.fromisoformat(service.requests[0]["end_time"])
    assert asked_end >= before + timedelta(hours=23)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("-o", "bars.json"), "must end in .parquet or .csv"),
        (("-o", "nowhere/bars.csv"), "does not exist"),
        (("--start", "yesterday"), "is no time"),
        (("--end", "0001-01-01T00:00+09:00"), "is no time"),
        (("--speed", "9"), "No such option"),
        (("--fill", "zero"), "'zero' is not one of 'none', 'previous_close', 'null'"),
    ],
)
def test_a_wrong_command_line_is_told_before_any_call(cb_trade, run_service, arguments, complaint):
    service = run_service()

    result = cb_trade("fetch", *SERIES, *JANUARY_FIRST, *arguments, service=service)

    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.replace("│", " ").split())
    assert service.request_paths == []


def test_a_refusal_is_one_line_with_its_code(cb_trade, run_service):
    error = {"code": "unknown_symbol", "message": "binance has no BTC/USD", "retryable": False}

    result = cb_trade("fetch", "binance", "BTC/USD", "1m", *JANUARY_FIRST, service=run_service(error=error))

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: binance has no BTC/USD [unknown_symbol]\n"


def test_a_refusal_that_will_pass_tells_how_long_to_wait(cb_trade, run_service):
    error = {"code": "too_many_requests", "message": "busy", "retryable": True, "retry_after_ms": 2500}

    result = cb_trade("fetch", *SERIES, *JANUARY_FIRST, service=run_service(error=error))

    assert result.stderr == "error: busy [too_many_requests]; try again in 2.5 s\n"


def test_a_missing_token_tells_how_to_get_one(cb_trade):
    result = cb_trade("latest", *SERIES)

    assert result.exit_code == 1
    assert "cb-trade token create" in result.stderr


def test_an_expired_token_is_told_in_the_services_words(cb_trade, run_service):
    result = cb_trade("latest", *SERIES, service=run_service(refuse_handshake=HTTPStatus.UNAUTHORIZED))

    assert result.exit_code == 1
    assert "the token expired yesterday" in result.stderr


def test_an_output_that_cannot_be_written_is_a_failure_without_traceback(cb_trade, run_service):
    too_long = f"{'x' * 300}.csv"
    result = cb_trade("fetch", *SERIES, *JANUARY_FIRST, "-o", too_long, service=run_service())

    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")


def test_url_and_token_come_from_the_environment(cb_trade, run_service, monkeypatch):
    service = run_service()
    monkeypatch.setenv("CB_TRADE_CLIENT__URL", service.url)
    monkeypatch.setenv("CB_TRADE_CLIENT__TOKEN", TOKEN)

    assert cb_trade("latest", *SERIES).exit_code == 0


def test_the_tokens_value_is_not_in_the_help(cb_trade, monkeypatch):
    monkeypatch.setenv("CB_TRADE_CLIENT__TOKEN", "my.secret.token")

    assert "my.secret.token" not in cb_trade("fetch", "--help").output


def test_latest_shows_the_newest_bar_and_how_far_bars_have_closed(cb_trade, run_service, minute_bars):
    result = cb_trade("latest", *SERIES, service=run_service(series=minute_bars(10)))

    assert result.stdout.splitlines() == [
        "newest stored bar  2024-01-01T00:09:00Z",
        "closed until       2024-01-02T00:00:00Z",
    ]


def test_of_derived_bars_latest_tells_what_they_are_made_of_and_calls_none_stored(cb_trade, run_service, minute_bars):
    service = run_service(series=minute_bars(10), derived_from="1h")

    result = cb_trade("latest", "coinbase", "BTC/USDT", "4h", service=service)

    assert result.stdout.splitlines() == [
        "derived from       1h",
        "newest whole bar   2024-01-01T00:09:00Z",
        "closed until       2024-01-02T00:00:00Z",
    ]


def test_plan_shows_storage_calls_and_missing_spans(cb_trade, run_service):
    result = cb_trade("plan", *SERIES, *JANUARY_FIRST, service=run_service())

    assert result.stdout.splitlines() == [
        "rows in storage  7",
        "exchange calls   2",
        "missing          2024-01-01T00:00:00Z … 2024-01-02T00:00:00Z",
    ]


@pytest.mark.parametrize(("asked", "sent"), [("any", "any"), ("kraken,coinbase", ["kraken", "coinbase"])])
def test_of_several_exchanges_or_any_the_one_that_was_chosen_is_told(cb_trade, run_service, minute_bars, asked, sent):
    service = run_service(series=minute_bars(10), chosen="coinbase")
    series = (asked, *SERIES[1:])

    fetched = cb_trade("fetch", *series, *JANUARY_FIRST, service=service)
    planned = cb_trade("plan", *series, *JANUARY_FIRST, service=service)
    latest = cb_trade("latest", *series, service=service)

    assert [each["exchange"] for each in service.requests] == [sent, sent, sent]
    assert "coinbase was chosen" in fetched.stderr
    assert planned.stdout.splitlines()[0] == "exchange         coinbase"
    assert latest.stdout.splitlines()[0] == "exchange           coinbase"


@pytest.mark.parametrize("asked", ["kraken,", ",kraken", "kraken,,coinbase", ",", " "])
def test_an_exchange_without_a_name_is_told_before_any_call(cb_trade, run_service, asked):
    service = run_service()

    for question in (("fetch", asked, *SERIES[1:], *JANUARY_FIRST), ("latest", asked, *SERIES[1:])):
        result = cb_trade(*question, service=service)

        assert result.exit_code == 2
        assert "an empty name" in " ".join(result.stderr.replace("│", " ").split())
    assert service.request_paths == []


@pytest.mark.parametrize("command", ["fetch", "plan", "compare", "coverage", "quality"])
@pytest.mark.parametrize("start", ["in two days", "9999-12-31"])
def test_a_start_that_lies_ahead_is_for_the_service_to_judge(cb_trade, run_service, command, start):
    """It says so; here, it would be the fault of an end that nobody gave."""
    service = run_service(error={"code": "range_in_future", "message": "that has not happened yet"})
    ahead = (datetime.now(UTC) + timedelta(days=2)).isoformat() if start == "in two days" else start

    cb_trade(command, *SERIES, "--start", ahead, service=service)

    [asked] = service.requests
    assert datetime.fromisoformat(asked["start_time"]) < datetime.fromisoformat(asked["end_time"])


def test_plan_says_that_more_is_missing_than_the_service_lists(cb_trade, run_service):
    def cut(message):
        return [message | {"missing_truncated": True}]

    result = cb_trade("plan", *SERIES, *JANUARY_FIRST, service=run_service(edit=cut))

    assert result.stdout.splitlines()[-2:] == [
        "missing          2024-01-01T00:00:00Z … 2024-01-02T00:00:00Z",
        "missing          … and more, later",
    ]


def test_help_shows_the_commands_and_the_exit_codes(cb_trade):
    result = cb_trade("--help")

    assert result.exit_code == 0
    assert "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted" in result.stdout
    for command in ("fetch", "latest", "plan", "coverage", "series", "exchanges"):
        assert command in result.stdout


def test_version_names_the_package(cb_trade):
    assert cb_trade("--version").stdout.startswith("cb-trade 0.")
