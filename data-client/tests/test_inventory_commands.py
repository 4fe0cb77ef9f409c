"""`cb-trade coverage`, `series` and `exchanges`, run in this process against the fake service."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from cb_trade_client.instants import to_ms
from cb_trade_client.main import build_app

SERIES = ("binance", "BTC/USDT", "1m")


@pytest.fixture
def cb_trade(monkeypatch):
    """Run `cb-trade` with some arguments against a service."""

    def run(*arguments, service):
        monkeypatch.setenv("CB_TRADE_CLIENT__URL", service.url)
        monkeypatch.setenv("CB_TRADE_CLIENT__TOKEN", "good.token")
        return CliRunner().invoke(build_app(()), arguments)

    return run


def segment(start, end, state, **facts):
    first, last = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (start, end))
    minutes = (last - first) // timedelta(minutes=1)
    return {"start_time": to_ms(first), "end_time": to_ms(last), "state": state, "bars": minutes, **facts}


ASKED = to_ms(datetime(2024, 1, 5, 12, 30, 15, tzinfo=UTC))
JANUARY = [
    segment("2024-01-01", "2024-01-02", "unlisted"),
    segment("2024-01-02", "2024-01-04", "held"),
    segment("2024-01-04", "2024-01-04T12:00", "failed", asked_at=ASKED, reason="[red]503"),
    segment("2024-01-04T12:00", "2024-01-05", "empty", asked_at=ASKED, asks=3),
    segment("2024-01-05", "2024-01-07", "unknown"),
]


def test_coverage_shows_how_complete_a_series_is_and_why_the_rest_is_missing(cb_trade, run_service):
    result = cb_trade("coverage", *SERIES, service=run_service(segments=JANUARY))

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "binance BTC/USDT 1m  2024-01-01T00:00:00Z … 2024-01-07T00:00:00Z",
        "40.0 % held: 2,880 of 7,200 bars",
        "unlisted: 1 span, 1,440 bars",
        "failed: 1 span, 720 bars",
        "empty: 1 span, 720 bars",
        "unknown: 1 span, 2,880 bars",
        "",
        "         1   5    10   15   20   25   30",
        "2024-01   ██···",
        "",
        "█ all held   ▓ ▒ ░ in part   · nothing   blank: outside the range, or not listed",
        "",
        "FROM               TO                 STATE      BARS  ASKED                        ASKED AGAIN     REASON",
        "2024-01-01         2024-01-02         unlisted  1,440",
        "2024-01-04         2024-01-04T12:00Z  failed      720  2024-01-05T12:30Z            next fetch      [red]503",
        "2024-01-04T12:00Z  2024-01-05         empty       720  2024-01-05T12:30Z (3 times)  only --refresh",
        "2024-01-05         2024-01-07         unknown   2,880                               next fetch",
    ]


def test_coverage_names_the_command_that_fetches_what_is_missing(cb_trade, run_service):
    result = cb_trade("coverage", *SERIES, service=run_service(segments=JANUARY))

    assert result.stderr == (
        "to fetch what is missing: cb-trade fetch binance BTC/USDT 1m "
        "--start 2024-01-04T00:00:00Z --end 2024-01-07T00:00:00Z -o FILE.parquet\n"
    )


@pytest.mark.parametrize(
    ("later", "words"), [(timedelta(hours=1), "from 2"), (timedelta(hours=-1), "next fetch")], ids=["later", "due"]
)
def test_coverage_tells_when_an_empty_part_is_asked_about_again(cb_trade, run_service, later, words):
    again = to_ms(datetime.now(UTC) + later)
    empty = segment("2024-01-01", "2024-01-02", "empty", asked_at=ASKED, asks=1, ask_again_at=again)

    result = cb_trade("coverage", *SERIES, service=run_service(segments=[empty]))

    assert words in result.stdout.splitlines()[-1]
    assert ("to fetch what is missing" in result.stderr) == (words == "next fetch")


def test_coverage_of_a_kind_without_bars_is_told_in_time(cb_trade, run_service):
    segments = [part | {"bars": None} for part in JANUARY]
    service = run_service(segments=segments)

    result = cb_trade("coverage", "binance", "BTC/USDT", "trades", service=service)

    assert (service.requests[0]["kind"], "timeframe" in service.requests[0]) == ("trades", False)
    assert result.stdout.splitlines() == [
        "binance BTC/USDT trades  2024-01-01T00:00:00Z … 2024-01-07T00:00:00Z",
        "40.0 % held: 2 d of 5 d",
        "unlisted: 1 span, 1 d",
        "failed: 1 span, 12 h",
        "empty: 1 span, 12 h",
        "unknown: 1 span, 2 d",
        "",
        "         1   5    10   15   20   25   30",
        "2024-01   ██···",
        "",
        "█ all held   ▓ ▒ ░ in part   · nothing   blank: outside the range, or not listed",
        "",
        "FROM               TO                 STATE     LENGTH  ASKED                        ASKED AGAIN     REASON",
        "2024-01-01         2024-01-02         unlisted     1 d",
        "2024-01-04         2024-01-04T12:00Z  failed      12 h  2024-01-05T12:30Z            next fetch      [red]503",
        "2024-01-04T12:00Z  2024-01-05         empty       12 h  2024-01-05T12:30Z (3 times)  only --refresh",
        "2024-01-05         2024-01-07         unknown      2 d                               next fetch",
    ]
    assert "cb-trade fetch binance BTC/USDT trades --start 2024-01-04T00:00:00Z" in result.stderr


def test_coverage_that_is_complete_says_so_and_suggests_nothing(cb_trade, run_service):
    result = cb_trade("coverage", *SERIES, service=run_service(segments=JANUARY[:2]))

    assert "100 % held: 2,880 of 2,880 bars" in result.stdout
    assert result.stderr == ""


def test_coverage_is_not_rounded_up_to_complete(cb_trade, run_service):
    nearly = [segment("2023-01-01", "2024-01-01", "held"), segment("2024-01-01", "2024-01-01T00:01", "failed")]

    result = cb_trade("coverage", *SERIES, service=run_service(segments=nearly))

    assert "99.9 % held" in result.stdout


def test_coverage_shows_the_first_parts_and_tells_how_many_more_there_are(cb_trade, run_service):
    parts = [
        segment(f"2024-01-01T{hour:02}:00", f"2024-01-01T{hour + 1:02}:00", "failed", reason=f"error {hour}")
        for hour in range(23)
    ]

    result = cb_trade("coverage", *SERIES, service=run_service(segments=parts))

    assert "error 19" in result.stdout
    assert "error 20" not in result.stdout
    assert result.stderr.startswith("… and 3 more; --json has them all\n")


def test_coverage_of_nothing_says_so_and_how_to_begin(cb_trade, run_service):
    result = cb_trade("coverage", *SERIES, service=run_service())

    assert (result.exit_code, result.stdout) == (0, "binance BTC/USDT 1m: nothing is known\n")
    assert "cb-trade fetch binance BTC/USDT 1m --start TIME" in result.stderr


def test_coverage_as_json_has_all_parts_with_iso_times_and_nothing_else_on_stdout(cb_trade, run_service):
    result = cb_trade("coverage", *SERIES, "--json", service=run_service(segments=JANUARY, page_size=2))

    report = json.loads(result.stdout)
    assert (report["start"], report["end"]) == ("2024-01-01T00:00:00Z", "2024-01-07T00:00:00Z")
    assert [part["state"] for part in report["segments"]] == [part["state"] for part in JANUARY]
    assert report["segments"][2]["asked_at"] == "2024-01-05T12:30:15Z"
    assert (report["bars_expected"], report["bars_held"]) == (7200, 2880)
    assert result.stderr == ""


def test_a_start_without_an_end_asks_until_the_newest_bar_and_neither_leaves_it_to_the_service(cb_trade, run_service):
    service = run_service(segments=JANUARY)
    before = datetime.now(UTC)

    cb_trade("coverage", *SERIES, "--start", "2024-01-02", service=service)
    cb_trade("coverage", *SERIES, service=service)
    cb_trade("coverage", *SERIES, "--end", "2024-01-03", service=service)

    started, open_, ended = service.requests
    assert started["start_time"] == "2024-01-02T00:00:00Z"
    assert datetime.fromisoformat(started["end_time"]) >= before + timedelta(hours=23)
    assert "start_time" not in open_
    assert "end_time" not in open_
    assert ("start_time" not in ended, ended["end_time"]) == (True, "2024-01-03T00:00:00Z")


def test_a_refusal_is_one_line_with_its_code(cb_trade, run_service):
    error = {"code": "unknown_exchange", "message": "no exchange is called 'binnance' here"}

    result = cb_trade("coverage", *SERIES, service=run_service(error=error))

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: no exchange is called 'binnance' here [unknown_exchange]\n"


def test_exchanges_are_shown_as_a_table(cb_trade, run_service, binance):
    result = cb_trade("exchanges", service=run_service(exchanges=[binance]))

    assert result.stdout.splitlines() == [
        "EXCHANGE  KINDS  TIMEFRAMES  BARS A CALL  CALLS A SECOND  WAITING  STATE",
        "binance   ohlcv  1m 1h             1,000            24.2        7  unused",
    ]


def test_an_exchange_that_wants_to_be_left_alone_says_for_how_long(cb_trade, run_service, binance):
    paused = binance | {"state": "429", "condition": binance["condition"] | {"paused_secs": 90.0}}

    result = cb_trade("exchanges", service=run_service(exchanges=[paused]))

    assert result.stdout.splitlines()[1].endswith("429 (left alone for 90 s)")


def test_exchanges_as_json(cb_trade, run_service, binance):
    result = cb_trade("exchanges", "--json", service=run_service(exchanges=[binance]))

    assert json.loads(result.stdout) == [binance]


STORED = {
    "exchange": "binance",
    "symbol": "BTC/USDT",
    "kind": "ohlcv",
    "timeframe": "1m",
    "first_timestamp": 1704067200000,
    "last_timestamp": 1704153540000,
    "listed_at": None,
    "listing_checked_at": None,
    "market_id": "BTCUSDT",
}


def test_series_are_shown_with_their_reach(cb_trade, run_service):
    service = run_service(stored_series=[STORED])

    result = cb_trade("series", "binance", service=service)

    assert result.stdout.splitlines() == [
        "EXCHANGE  SYMBOL    KIND   TIMEFRAME  FIRST                 LAST                  LISTED",
        "binance   BTC/USDT  ohlcv  1m         2024-01-01T00:00:00Z  2024-01-01T23:59:00Z",
    ]
    assert service.requests[0]["exchange"] == "binance"


def test_series_of_all_exchanges_as_json(cb_trade, run_service):
    service = run_service(stored_series=[STORED])

    result = cb_trade("series", "--json", service=service)

    times = {"first_timestamp": "2024-01-01T00:00:00Z", "last_timestamp": "2024-01-01T23:59:00Z"}
    assert json.loads(result.stdout) == [{**STORED, **times}]
    assert "exchange" not in service.requests[0]


def test_where_nothing_is_stored_the_hint_is_on_stderr(cb_trade, run_service):
    result = cb_trade("series", service=run_service())

    assert len(result.stdout.splitlines()) == 1
    assert "nothing is stored yet" in result.stderr


def test_on_a_terminal_a_long_reason_wraps_and_the_times_stay_whole(cb_trade, run_service, monkeypatch):
    failed = segment("2024-01-01T00:01", "2024-01-01T00:02", "failed", asked_at=ASKED, reason="word " * 40)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "95")

    result = cb_trade("coverage", *SERIES, service=run_service(segments=[failed]))

    lines = result.stdout.splitlines()
    assert sum("word" in line for line in lines) > 1
    assert any(line.startswith("2024-01-01T00:01Z   2024-01-01T00:02Z   failed") for line in lines)
