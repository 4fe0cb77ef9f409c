"""`cb-trade quality`, run in this process against the fake service."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
import rich.console
from quality_pages import PAGES, SPIKE, at, day, gap, page
from rich.console import Console
from typer.testing import CliRunner

from cb_trade_client.commands.quality import NOT_ALL_TOLD
from cb_trade_client.main import build_app
from cb_trade_client.quality.words import score_text

TOKEN = "good.token"
SERIES = ("binance", "BTC/USDT", "1h")
SPAN = ("2020-06-27T00:00:00Z", "2020-06-30T00:00:00Z")


@pytest.mark.parametrize(
    ("score", "text"),
    [(None, "–"), (1.0, "1.000"), (0.99999, "0.999"), (0.7, "0.700"), (0.29, "0.290"), (0.0, "0.000")],
)
def test_a_score_is_never_shown_better_than_it_is(score, text):
    assert score_text(score) == text


@pytest.fixture
def cb_trade(monkeypatch, run_service, tmp_path):
    """Run `cb-trade quality` of some days in an empty folder against a service that tells some pages."""
    monkeypatch.chdir(tmp_path)

    def run(*pages, options=()):
        monkeypatch.setenv("CB_TRADE_CLIENT__URL", run_service(quality_pages=list(pages)).url)
        monkeypatch.setenv("CB_TRADE_CLIENT__TOKEN", TOKEN)
        arguments = ["quality", *SERIES, "--start", "2020-06-27", "--end", "2020-06-30", *options]
        return CliRunner().invoke(build_app(()), arguments)

    return run


def test_people_see_scores_with_what_they_are_made_of_months_gaps_and_findings(cb_trade):
    result = cb_trade(*PAGES)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"binance BTC/USDT 1h  {SPAN[0]} … {SPAN[1]}",
        "overall 0.968, the lowest of the scores: accuracy",
        "",
        "SCORE         VALUE  MADE OF",
        "completeness  0.972  70 of 72 bars held, 3 of them were never made",
        "consistency   0.985  1 of 67 rows flagged: 1 DATA-009 price outlier",
        "freshness         –  only the past was asked about",
        "accuracy      0.968  2 bars differ from what trades and bars of 5m make, of 64 compared",
        "",
        "MONTH    COMPLETENESS  CONSISTENCY  EXPECTED  HELD  ROWS  FLAGGED",
        "2020-06         0.972        0.985        72    70    67        1",
        "",
        "STATE   GAPS  BARS  LONGEST  FIRST FROM        LAST UNTIL        REASON",
        "held       1     3        3  2020-06-28 02:00  2020-06-28 05:00  the exchange has no bars here",
        "failed     1     2        2  2020-06-29 22:00  2020-06-30 00:00  HTTP 503",
        "",
        "FROM                  TO                    BARS  STATE   REASON",
        "2020-06-29T22:00:00Z  2020-06-30T00:00:00Z     2  failed  HTTP 503",
        "2020-06-28T02:00:00Z  2020-06-28T05:00:00Z     3  held    the exchange has no bars here",
        "",
        "BAR                   FOUND                   IN     VALUE  USUAL  FACTOR",
        "2020-06-29T05:00:00Z  DATA-009 price outlier  high  91,050  9,105     ×10",
    ]


def test_a_series_without_a_fault_says_so(cb_trade):
    result = cb_trade(page("2020-06-27", "2020-06-28", [day("2020-06-27")]))

    assert result.stdout.splitlines()[-3:] == ["no time is without rows", "", "nothing odd was found"]
    assert "overall 1.000, the lowest of the scores: completeness" in result.stdout


@pytest.mark.parametrize(
    ("minimum", "exit_code", "complaint"),
    [("0.9", 0, ""), ("0.96875", 0, ""), ("0.97", 1, "accuracy 0.968 is below the minimum of 0.97\n")],
)
def test_below_the_minimum_it_exits_with_1_after_all_was_told(cb_trade, minimum, exit_code, complaint):
    result = cb_trade(*PAGES, options=["--minimum", minimum])

    assert (result.exit_code, result.stderr) == (exit_code, complaint)
    assert "DATA-009 price outlier" in result.stdout


def test_what_has_no_score_reaches_no_minimum(cb_trade):
    nothing = page("2020-06-27", "2020-06-28", [], newest_end=None, bars_behind=None)
    nothing |= {"start_time": None, "end_time": None}

    result = cb_trade(nothing, options=["--minimum", "0"])

    assert (result.exit_code, result.stdout) == (1, "binance BTC/USDT 1h: nothing is known\n")
    assert result.stderr.splitlines() == [
        "to fetch it: cb-trade fetch binance BTC/USDT 1h --start TIME -o FILE.parquet",
        "there is no score that could be 0 or more",
    ]


def test_without_an_end_a_clock_that_is_slow_does_not_make_it_a_question_about_the_past(
    cb_trade, run_service, monkeypatch
):
    """Freshness is of the present alone: a stale series would reach any minimum."""
    service = run_service(quality_pages=PAGES[1:])
    monkeypatch.setenv("CB_TRADE_CLIENT__URL", service.url)
    monkeypatch.setenv("CB_TRADE_CLIENT__TOKEN", TOKEN)
    in_hours = datetime.now(UTC) + timedelta(hours=23)

    for options in ([], ["--start", "2020-06-27"]):
        assert CliRunner().invoke(build_app(()), ["quality", *SERIES, *options]).exit_code == 0

    open_, started = service.requests
    assert "end_time" not in open_
    assert datetime.fromisoformat(started["end_time"]) >= in_hours


@pytest.mark.parametrize("minimum", ["-0.1", "1.5", "good"])
def test_a_minimum_that_no_score_can_be_is_a_wrong_command_line(cb_trade, minimum):
    assert cb_trade(*PAGES, options=["--minimum", minimum]).exit_code == 2


def test_as_json_it_is_one_document_with_the_scores(cb_trade):
    result = cb_trade(*PAGES, options=["--json", "--minimum", "0.99"])

    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (report["scores"]["overall"], report["scores"]["lowest"]) == (62 / 64, "accuracy")
    assert report["evidence"]["flagged"] == {"DATA-009": 1}
    assert [each["start"] for each in report["gaps"]] == ["2020-06-28T02:00:00Z", "2020-06-29T22:00:00Z"]
    assert report["findings"][0]["time"] == "2020-06-29T05:00:00Z"


def test_of_many_gaps_and_findings_the_first_are_shown_and_all_are_counted(cb_trade):
    gaps = [gap(f"2020-06-27T{hour:02}:00", f"2020-06-27T{hour + 1:02}:00", reason=f"no {hour}") for hour in range(23)]
    findings = [SPIKE | {"time": at("2020-06-27") + number} for number in range(31)]

    all_told, cut = (
        cb_trade(page("2020-06-27", "2020-06-28", [day("2020-06-27")], gaps, findings, truncated=is_cut))
        for is_cut in (False, True)
    )

    assert sum("DATA-009 price outlier  high" in line for line in all_told.stdout.splitlines()) == 20
    assert all_told.stderr.splitlines() == [
        "… and 3 more gaps; --json has all of them",
        "… and 11 more findings; --json has all of them",
    ]
    assert cut.stderr.splitlines() == [
        "… and 3 more gaps; --json has those that are told",
        "… and 11 more findings; --json has those that are told",
        NOT_ALL_TOLD,
    ]


def test_a_table_that_has_not_all_says_so_itself(cb_trade):
    """Where stdout goes into a file, what stderr says is not there."""
    gaps = [gap(f"2020-06-27T{hour:02}:00", f"2020-06-27T{hour + 1:02}:00", reason=f"no {hour}") for hour in range(23)]
    findings = [SPIKE | {"time": at("2020-06-27") + number} for number in range(31)]

    all_told, cut = (
        cb_trade(page("2020-06-27", "2020-06-28", [day("2020-06-27")], gaps, findings, truncated=is_cut))
        .stdout.replace("\n", "|")
        .replace("  ", " ")
        for is_cut in (False, True)
    )

    assert "|the longest 20 of 23 gaps, first those failed, unavailable or unknown|FROM " in all_told
    assert "|the first 20 of 31 findings|BAR " in all_told
    assert "|of the gaps that are told: there may be more|STATE " in cut
    assert "|the longest 20 of 23 gaps that are told, first those failed, unavailable or unknown|FROM " in cut
    assert "|the first 20 of 31 findings that are told|BAR " in cut


def test_an_outage_is_found_among_very_many_quiet_minutes(cb_trade):
    quiet = [
        gap(f"2020-06-{1 + hour // 24:02}T{hour % 24:02}:00", f"2020-06-{1 + hour // 24:02}T{hour % 24:02}:30")
        for hour in range(500)
    ]
    quiet[200] = gap("2020-06-09T08:00", "2020-06-09T20:00")
    failed = gap("2020-06-22T00:00", "2020-06-22T02:00", "failed", "HTTP 503")

    result = cb_trade(page("2020-06-01", "2020-06-30", [day("2020-06-27")], [*quiet, failed]))

    lines = result.stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("the longest 20 of 501 gaps")) + 2
    assert lines[first].split() == ["2020-06-22T00:00:00Z", "2020-06-22T02:00:00Z", "2", "failed", "HTTP", "503"]
    assert lines[first + 1].startswith("2020-06-09T08:00:00Z  2020-06-09T20:00:00Z    12  held")
    assert any(line.startswith("held     500    12       12  2020-06-01 00:00") for line in lines)


def test_an_outage_is_found_among_minutes_that_are_not_certain_to_be_empty_and_years_without_a_market(cb_trade):
    before, after = gap("2010-01-01", "2020-06-01", "unlisted", ""), gap("2020-06-29", "2020-06-30", "delisted", "")
    outage = gap("2020-06-10", "2020-06-13")
    empty = [gap(f"2020-06-27T{hour:02}:00", f"2020-06-27T{hour:02}:30", "empty", "asked once") for hour in range(22)]
    states = ("unknown", "failed", "unavailable")
    open_ = [gap(f"2020-06-28T0{hour}:00", f"2020-06-28T0{hour}:30", state) for hour, state in enumerate(states)]

    result = cb_trade(page("2010-01-01", "2020-06-30", [day("2020-06-27")], [before, outage, *empty, *open_, after]))

    lines = result.stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("the longest 20 of 28 gaps")) + 2
    assert [line.split()[3] for line in lines[first : first + 20]] == [*states, "held", *["empty"] * 16]


@pytest.mark.parametrize("columns", [80, 40])
def test_on_a_narrow_terminal_no_number_and_no_time_is_cut(cb_trade, monkeypatch, columns):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    spikes = [
        SPIKE
        | {"code": code, "columns": ["open", "high", "low", "close"], "value": 1234567.125, "usual": 0.00012345678}
        for code in ("DATA-009", "DATA-022")
    ]
    outage = gap("2019-06-27", "2020-06-28T04:00", "unavailable", "the exchange says HTTP 451 from here")

    lines = cb_trade(page("2020-06-27", "2020-06-28", [day("2020-06-27")], [outage], spikes)).stdout.splitlines()

    assert sum("1,234,567.125   0.00012345678   ×1e+10" in line for line in lines) == 2
    assert any(line.startswith("unavailable      1   8,812     8,812   2019-06-27") for line in lines)
    assert any(line.startswith("2019-06-27T00:00:00Z   2020-06-28T04:00:00Z   8,812   unavailable") for line in lines)
    words = " ".join(" ".join(lines).split())
    assert all(word in words for word in ("DATA-022", "another", "close", "451"))


def test_as_json_too_it_says_where_not_all_is_told(cb_trade):
    cut = page("2020-06-27", "2020-06-28", [day("2020-06-27")], truncated=True)

    result = cb_trade(cut, options=["--json"])

    assert (json.loads(result.stdout)["truncated"], result.stderr) == (True, NOT_ALL_TOLD + "\n")


def test_as_json_it_has_the_gaps_and_findings_of_all_pages(cb_trade):
    """A page of a service ends where its lists fill up; the next one goes on."""
    hours = [[f"2020-06-{date}T{hour:02}:00" for hour in range(24)] for date in (27, 28)]
    gaps = [[gap(at_hour, at_hour[:-2] + "30") for at_hour in each] for each in hours]
    findings = [[SPIKE | {"time": at(at_hour)} for at_hour in each] for each in hours]
    pages = [
        page("2020-06-27", "2020-06-28", [day("2020-06-27")], gaps[0], findings[0], following="2020-06-28"),
        page("2020-06-28", "2020-06-29", [day("2020-06-28")], gaps[1], findings[1]),
    ]

    result = cb_trade(*pages, options=["--json"])

    report = json.loads(result.stdout)
    assert [each["start"][:16] for each in report["gaps"]] == [*hours[0], *hours[1]]
    assert [each["time"][:16] for each in report["findings"]] == [*hours[0], *hours[1]]
    assert (report["truncated"], result.stderr) == (False, "")


def test_a_finding_with_no_bars_near_has_a_dash_for_what_is_usual(cb_trade):
    lonely = page("2020-06-27", "2020-06-28", [day("2020-06-27")], findings=[SPIKE | {"usual": None}])

    shown, as_json = cb_trade(lonely), cb_trade(lonely, options=["--json"])

    assert shown.stdout.splitlines()[-2:] == [
        "BAR                   FOUND                   IN     VALUE  USUAL  FACTOR",
        "2020-06-29T05:00:00Z  DATA-009 price outlier  high  91,050      –",
    ]
    assert json.loads(as_json.stdout)["findings"][0]["usual"] is None


def test_of_many_months_the_newest_are_shown(cb_trade):
    days = [day(f"20{year}-{month:02}-01") for year in range(18, 21) for month in range(1, 13)]

    result = cb_trade(page("2018-01-01", "2021-01-01", days))

    lines = result.stdout.splitlines()
    assert sum(line.startswith(("2018-", "2019-", "2020-")) for line in lines) == 24
    assert result.stderr == "… and 12 months before; --json has all days\n"


def test_bars_of_a_day_are_told_by_year(cb_trade, run_service, monkeypatch):
    monkeypatch.setenv(
        "CB_TRADE_CLIENT__URL",
        run_service(quality_pages=[page("2019-01-01", "2021-01-01", [day("2019-01-01"), day("2020-01-01")])]).url,
    )
    monkeypatch.setenv("CB_TRADE_CLIENT__TOKEN", TOKEN)

    result = CliRunner().invoke(build_app(()), ["quality", "binance", "BTC/USDT", "1d"])

    assert [line.split()[0] for line in result.stdout.splitlines() if line.startswith(("YEAR", "20"))] == [
        "YEAR",
        "2019",
        "2020",
    ]


def test_the_page_is_written_beside_what_is_shown(cb_trade, tmp_path):
    result = cb_trade(*PAGES, options=["--html", "report.html", "--json", "--minimum", "0.99"])

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert result.exit_code == 1  # not before the page was written
    assert json.loads(result.stdout)["scores"]["lowest"] == "accuracy"
    assert result.stderr.splitlines()[0] == "the page is in report.html"
    assert page.startswith("<!doctype html>")
    assert "Quality of binance BTC/USDT 1h" in page
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_told_before_any_call(cb_trade, run_service):
    result = cb_trade(*PAGES, options=["--html", "nowhere/report.html"])

    assert result.exit_code == 2
    assert "does not exist" in " ".join(result.stderr.replace("│", " ").split())


def test_where_the_page_cannot_be_written_all_is_shown_before_that_is_told(cb_trade):
    result = cb_trade(*PAGES, options=["--html", "x" * 300 + ".html"])

    assert result.exit_code == 1
    assert "DATA-009 price outlier" in result.stdout
    assert result.stderr.startswith("error: ")


def test_where_nobody_reads_stdout_to_its_end_the_page_is_written(cb_trade, monkeypatch, tmp_path):
    def broken(_):
        raise BrokenPipeError

    monkeypatch.setattr("cb_trade_client.commands.outcome.show_json", broken)
    monkeypatch.setattr("cb_trade_client.commands.outcome._forget_stdout", lambda: None)

    result = cb_trade(*PAGES, options=["--html", "report.html", "--json"])

    assert result.exit_code == 0
    assert (tmp_path / "report.html").exists()


def test_on_a_terminal_it_is_told_meanwhile_how_far_it_has_come(cb_trade, monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, width=120, force_terminal=True, no_color=True)
    monkeypatch.setattr(rich.console, "Console", lambda **_: console)

    cb_trade(*PAGES, options=["--json"])

    assert "binance BTC/USDT 1h: looked at it until 2020-06-30T00:00:00Z" in screen.getvalue()
