"""`compare`, of the SDK and of the command, against the fake service."""

import io
import json
from datetime import UTC, datetime

import pytest
import rich.console
from rich.console import Console
from typer.testing import CliRunner

from cb_trade_client import BarDifference, BarValues, DataClient, EmptyRangeError, ProtocolError, SyncDataClient
from cb_trade_client.instants import to_ms
from cb_trade_client.main import build_app

TOKEN = "good.token"
SERIES = ("binance", "BTC/USDT", "1m")
SPAN = ("2024-01-01T00:00:00Z", "2024-03-01T00:00:00Z")
HOUR_MS = 3_600_000


def page(start, end, *differences, compared=1440, differing=None, last=False, **facts):
    first, after = (to_ms(datetime.fromisoformat(text).replace(tzinfo=UTC)) for text in (start, end))
    return {
        "start_time": first,
        "end_time": after,
        "bars_compared": compared,
        "bars_that_differ": len(differences) if differing is None else differing,
        "differences": list(differences),
        "without_trades_ms": 0,
        "without_bars_ms": 0,
        "next_start_time": None if last else after,
        **facts,
    }


def difference(time, columns, rebuilt, told):
    names = ("open", "high", "low", "close", "volume")
    bars = [None if bar is None else dict(zip(names, bar, strict=True)) for bar in (rebuilt, told)]
    opens_ms = to_ms(datetime.fromisoformat(time).replace(tzinfo=UTC))
    return {"timestamp": opens_ms, "columns": columns, "rebuilt": bars[0], "told": bars[1]}


RESTATED = difference("2024-01-05T10:00", ["high", "volume"], (1.5, 2, 1, 1.75, 30), (1.5, 2.25, 1, 1.75, 31))
ONLY_TOLD = difference("2024-02-03T00:01", [], None, (1, 1, 1, 1, 5))
PAGES = [
    page("2024-01-01", "2024-02-01", RESTATED, without_trades_ms=HOUR_MS),
    page("2024-02-01", "2024-03-01", ONLY_TOLD, without_bars_ms=2 * HOUR_MS, last=True),
]


async def test_pages_are_one_report(run_service):
    service = run_service(comparisons=PAGES)

    report = await DataClient(service.url, token=TOKEN).compare(*SERIES, *SPAN)

    assert (report.start, report.end) == (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC))
    assert (report.bars_compared, report.bars_that_differ) == (2880, 2)
    assert (report.without_trades_ms, report.without_bars_ms) == (HOUR_MS, 2 * HOUR_MS)
    assert report.differences == (
        BarDifference(
            datetime(2024, 1, 5, 10, tzinfo=UTC),
            ("high", "volume"),
            BarValues(1.5, 2, 1, 1.75, 30),
            BarValues(1.5, 2.25, 1, 1.75, 31),
        ),
        BarDifference(datetime(2024, 2, 3, 0, 1, tzinfo=UTC), (), None, BarValues(1, 1, 1, 1, 5)),
    )
    assert [asked["start_time"] for asked in service.requests] == ["2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"]


async def test_pages_come_one_by_one(run_service):
    service = run_service(comparisons=PAGES)
    pages = DataClient(service.url, token=TOKEN).compare_pages(*SERIES, *SPAN)

    first = await anext(pages)

    assert (first.end, first.bars_that_differ, len(service.requests)) == (datetime(2024, 2, 1, tzinfo=UTC), 1, 1)
    assert [page.bars_that_differ async for page in pages] == [1]


def test_it_can_be_waited_for(run_service):
    with SyncDataClient(run_service(comparisons=PAGES).url, token=TOKEN) as client:
        assert client.compare(*SERIES, *SPAN).bars_that_differ == 2


async def test_a_backward_range_is_refused_before_any_call(run_service):
    service = run_service(comparisons=PAGES)

    with pytest.raises(EmptyRangeError):
        await DataClient(service.url, token=TOKEN).compare(*SERIES, *reversed(SPAN))

    assert service.requests == []


async def test_pages_that_do_not_go_on_are_a_broken_contract(run_service):
    stuck = page("2024-01-01", "2024-02-01", next_start_time=PAGES[0]["start_time"])

    with pytest.raises(ProtocolError, match="does not lead on"):
        await DataClient(run_service(comparisons=[stuck]).url, token=TOKEN).compare(*SERIES, *SPAN)


@pytest.mark.parametrize("broken", [{"rebuilt": 5}, {"told": {"open": 1}}, {"columns": "high"}, {"timestamp": None}])
async def test_a_difference_of_another_form_is_a_broken_contract(run_service, broken):
    service = run_service(comparisons=[page("2024-01-01", "2024-02-01", {**RESTATED, **broken}, last=True)])

    with pytest.raises(ProtocolError):
        await DataClient(service.url, token=TOKEN).compare(*SERIES, *SPAN)


# --- The command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cb_trade(monkeypatch, run_service):
    """Run `cb-trade compare` of January and February against a service that tells some pages."""

    def run(*pages, options=()):
        monkeypatch.setenv("CB_TRADE_CLIENT__URL", run_service(comparisons=list(pages)).url)
        monkeypatch.setenv("CB_TRADE_CLIENT__TOKEN", TOKEN)
        arguments = ["compare", *SERIES, "--start", "2024-01-01", "--end", "2024-03-01", *options]
        return CliRunner().invoke(build_app(()), arguments)

    return run


def test_differences_are_a_table_a_sentence_and_an_exit_code(cb_trade):
    result = cb_trade(*PAGES)

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "BAR                   DIFFERS  BY TRADES    BY THE EXCHANGE",
        "2024-01-05T10:00:00Z  high             2               2.25",
        "2024-01-05T10:00:00Z  volume          30                 31",
        "2024-02-03T00:01:00Z  bar           none  close 1, volume 5",
        "",
        f"binance BTC/USDT 1m  {SPAN[0]} … {SPAN[1]}: 2 of 2,880 bars differ from what their trades make",
    ]
    assert result.stderr.splitlines() == [
        "not compared, for lack of trades: 1 h",
        "not compared, for lack of bars: 2 h",
    ]


def test_on_a_terminal_it_is_told_meanwhile_how_far_it_has_come(cb_trade, monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, width=120, force_terminal=True, no_color=True)
    monkeypatch.setattr(rich.console, "Console", lambda **_: console)

    cb_trade(*PAGES, options=["--json"])

    assert "binance BTC/USDT 1m: compared until 2024-03-01T00:00:00Z" in screen.getvalue()


def test_where_nothing_differs_a_sentence_says_so(cb_trade):
    result = cb_trade(page("2024-01-01", "2024-03-01", last=True))

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "binance BTC/USDT 1m  2024-01-01T00:00:00Z … 2024-03-01T00:00:00Z: "
        "1,440 bars compared, none differs from what its trades make\n"
    )


@pytest.mark.parametrize(
    ("lack", "fetched"),
    [({"without_trades_ms": HOUR_MS, "without_bars_ms": HOUR_MS}, "trades"), ({"without_bars_ms": HOUR_MS}, "1m")],
)
def test_where_nothing_could_be_compared_the_next_step_is_told(cb_trade, lack, fetched):
    result = cb_trade(page("2024-01-01", "2024-03-01", compared=0, last=True, **lack))

    assert result.exit_code == 0
    assert result.stdout.endswith(": nothing could be compared\n")
    assert result.stderr.splitlines()[-1] == (
        f"fetch the {'trades' if fetched == 'trades' else 'bars'} first: cb-trade fetch binance BTC/USDT {fetched} "
        "--start 2024-01-01T00:00:00Z --end 2024-03-01T00:00:00Z -o FILE.parquet"
    )


def test_where_no_bar_has_closed_nothing_else_is_said(cb_trade):
    nothing = page("2024-01-01", "2024-03-01", compared=0, last=True) | {"start_time": None, "end_time": None}

    result = cb_trade(nothing)

    assert (result.exit_code, result.stdout, result.stderr) == (0, "binance BTC/USDT 1m: no bar has closed\n", "")


def test_of_many_differences_the_first_are_shown_and_all_are_counted(cb_trade):
    many = [difference(f"2024-01-01T00:{minute:02}", ["close"], (1,) * 5, (2,) * 5) for minute in range(23)]

    result = cb_trade(page("2024-01-01", "2024-03-01", *many, differing=1030, last=True))

    assert sum("close" in line for line in result.stdout.splitlines()) == 20
    assert "1,030 of 1,440 bars differ" in result.stdout
    assert result.stderr.startswith("… and 1,010 more bars that differ")


def test_as_json_it_is_one_document_with_all_differences(cb_trade):
    result = cb_trade(*PAGES, options=["--json"])

    report = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (1, "")
    assert (report["end"], report["bars_that_differ"]) == ("2024-03-01T00:00:00Z", 2)
    assert report["differences"][1]["timestamp"] == "2024-02-03T00:01:00Z"
    assert (report["differences"][1]["rebuilt"], report["differences"][1]["told"]["volume"]) == (None, 5)


def test_bars_that_differ_count_though_nobody_reads_which(cb_trade, monkeypatch):
    def broken(_):
        raise BrokenPipeError

    monkeypatch.setattr("cb_trade_client.commands.outcome.show_json", broken)
    monkeypatch.setattr("cb_trade_client.commands.outcome._forget_stdout", lambda: None)

    assert cb_trade(*PAGES, options=["--json"]).exit_code == 1
