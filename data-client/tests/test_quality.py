"""`DataClient.quality` against the fake service, and the scores that are made of evidence."""

from datetime import UTC, datetime, timedelta

import pytest
from quality_pages import PAGES, SPIKE, day, evidence, gap, page

from cb_trade_client import (
    DataClient,
    EmptyRangeError,
    ProtocolError,
    QualityFinding,
    QualityGap,
    QualityReport,
    QualityScores,
    SyncDataClient,
)
from cb_trade_client.quality.evidence import QualityEvidence

TOKEN = "good.token"
SERIES = ("binance", "BTC/USDT", "1h")
SPAN = ("2020-06-27T00:00:00Z", "2020-06-30T00:00:00Z")
HOUR = timedelta(hours=1)


# --- The SDK ---------------------------------------------------------------------------------------------------------


async def test_evidence_of_pages_adds_up_and_scores_are_reckoned_from_the_sum(run_service):
    service = run_service(quality_pages=PAGES)

    report = await DataClient(service.url, token=TOKEN).quality(*SERIES, *SPAN, details=True)

    assert (report.start, report.end) == (datetime(2020, 6, 27, tzinfo=UTC), datetime(2020, 6, 30, tzinfo=UTC))
    made_of = report.evidence
    assert (made_of.expected_bars, made_of.held_bars, made_of.rows, made_of.holes) == (72, 70, 67, 3)
    assert (made_of.flagged, made_of.compared_bars, made_of.differing_bars) == ({"DATA-009": 1}, 64, 2)
    assert made_of.compared_with == "trades, 5m"
    assert report.scores == QualityScores(
        completeness=70 / 72,
        consistency=66 / 67,
        freshness=None,
        accuracy=62 / 64,
        overall=62 / 64,
        lowest="accuracy",
    )
    assert [each.start.day for each in report.days] == [27, 28, 29]
    assert [asked["start_time"] for asked in service.requests] == [SPAN[0], "2020-06-28T04:00:00Z"]
    assert {asked["details"] for asked in service.requests} == {"true"}


async def test_a_gap_that_a_page_has_cut_is_one_gap(run_service):
    report = await DataClient(run_service(quality_pages=PAGES).url, token=TOKEN).quality(*SERIES, *SPAN, details=True)

    outage = datetime(2020, 6, 28, 2, tzinfo=UTC)
    assert report.gaps[0] == QualityGap(outage, outage + 3 * HOUR, 3, "held", "the exchange has no bars here")
    assert [(each.bars, each.state) for each in report.gaps] == [(3, "held"), (2, "failed")]
    assert report.findings == (
        QualityFinding("DATA-009", datetime(2020, 6, 29, 5, tzinfo=UTC), ("high",), 91050.0, 9105.0),
    )


async def test_the_code_of_a_gap_is_read_and_older_services_tell_none(run_service):
    told = [gap("2020-06-27", "2020-06-28") | {"code": "DATA-012"}, gap("2020-06-29", "2020-06-30")]
    service = run_service(quality_pages=[page("2020-06-27", "2020-06-30", [day("2020-06-27")], gaps=told)])

    report = await DataClient(service.url, token=TOKEN).quality(*SERIES, details=True)

    assert [each.code for each in report.gaps] == ["DATA-012", None]


async def test_without_details_what_needs_the_rows_may_be_left_out(run_service):
    bare = page("2020-06-27", "2020-06-28", [day("2020-06-27")])
    for name in ("gaps", "findings"):
        del bare[name]
    for name in ("low", "high", "close", "volume"):
        del bare["days"][0][name]
    service = run_service(quality_pages=[bare])

    report = await DataClient(service.url, token=TOKEN).quality(*SERIES)

    assert not {"details", "start_time", "end_time"} & service.requests[0].keys()
    assert (report.gaps, report.findings, report.days[0].low, report.days[0].close) == ((), (), None, None)
    assert (report.scores.consistency, report.scores.accuracy) == (1.0, None)


def test_it_can_be_waited_for(run_service):
    with SyncDataClient(run_service(quality_pages=PAGES).url, token=TOKEN) as client:
        assert client.quality(*SERIES, *SPAN).scores.lowest == "accuracy"


async def test_a_backward_range_is_refused_before_any_call(run_service):
    service = run_service(quality_pages=PAGES)

    with pytest.raises(EmptyRangeError):
        await DataClient(service.url, token=TOKEN).quality(*SERIES, *reversed(SPAN))

    assert service.requests == []


async def test_pages_that_do_not_go_on_are_a_broken_contract(run_service):
    stuck = page("2020-06-27", "2020-06-28", [day("2020-06-27")], following="2020-06-27")

    with pytest.raises(ProtocolError, match="does not lead on"):
        await DataClient(run_service(quality_pages=[stuck]).url, token=TOKEN).quality(*SERIES)


@pytest.mark.parametrize(
    "broken",
    [
        {"evidence": None},
        {"evidence": evidence([day("2020-06-27", flagged={"DATA-009": -1})])},
        {"evidence": evidence([day("2020-06-27")]) | {"flagged": ["DATA-009"]}},
        {"days": [{"start_time": 0}]},
        {"days": [day("2020-06-27") | {"low": "9000"}]},
        {"findings": [SPIKE | {"columns": "high"}]},
        {"gaps": [gap("2020-06-27", "2020-06-28") | {"bars": None}]},
        {"next": "tomorrow"},
    ],
    ids=lambda broken: next(iter(broken)),
)
async def test_a_page_of_another_form_is_a_broken_contract(run_service, broken):
    service = run_service(quality_pages=[page("2020-06-27", "2020-06-28", [day("2020-06-27")]) | broken])

    with pytest.raises(ProtocolError):
        await DataClient(service.url, token=TOKEN).quality(*SERIES)


# --- Scores ----------------------------------------------------------------------------------------------------------


def evidence_of(**facts):
    counts = ("expected_bars", "held_bars", "rows", "holes", "compared_bars", "differing_bars")
    return QualityEvidence.from_message({**dict.fromkeys(counts, 0), "flagged": {}, **facts})


def scores(**facts):
    return QualityScores.of(evidence_of(**facts))


def test_codes_that_no_row_has_are_not_mentioned():
    counts = {"DATA-009": 0, "DATA-020": 2}

    assert evidence_of(flagged=counts).flagged == evidence_of(flagged={"DATA-020": 2}).flagged == {"DATA-020": 2}


def test_nothing_is_said_of_nothing():
    assert scores() == QualityScores(None, None, None, None, overall=None, lowest=None)


def test_each_score_is_what_it_says_and_overall_is_the_lowest():
    facts = {"expected_bars": 100, "held_bars": 90, "rows": 80, "holes": 10, "compared_bars": 50, "differing_bars": 1}

    found = scores(**facts, flagged={"DATA-009": 6, "DATA-021": 2}, bars_behind=3)

    assert found == QualityScores(0.9, 0.9, 0.7, 0.98, overall=0.7, lowest="freshness")


@pytest.mark.parametrize(("behind", "freshness"), [(0, 1.0), (1, 0.9), (3, 0.7), (9, 0.1), (10, 0.0), (10**6, 0.0)])
def test_each_bar_that_is_missing_at_the_end_takes_a_tenth(behind, freshness):
    assert scores(bars_behind=behind).freshness == freshness


def test_of_several_that_are_the_lowest_the_first_is_named():
    assert scores(expected_bars=1, held_bars=1, rows=1, bars_behind=0).lowest == "completeness"


def test_reports_of_nothing_add_up_to_nothing():
    nothing = page("2020-06-27", "2020-06-28", [], bars_behind=None) | dict(
        zip(("exchange", "symbol", "timeframe"), SERIES, strict=True)
    )

    report = QualityReport.from_message(nothing)

    assert report.followed_by(report).scores.overall is None
