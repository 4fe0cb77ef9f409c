"""The page of `cb-trade quality --html`: what it shows, that it needs nothing else, and that nothing in it runs."""

import os
import re
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from chromium import find_chromium, open_page

from cb_trade_client import QualityFinding, QualityGap, QualityReport, QualityScores
from cb_trade_client.quality.evidence import QualityDay, QualityEvidence
from cb_trade_client.quality.page import MOST_ROWS, html_page

START = datetime(2020, 1, 1, tzinfo=UTC)
MADE_AT = datetime(2024, 3, 1, 12, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
OUTAGE = datetime(2020, 6, 28, 2, tzinfo=UTC)
NASTY = "</title></style></svg><script>document.title='x'</script><img src=x onerror=alert(1)>\"'&{{7*7}} //h.example"


def day(start, *, expected=24, held=24, holes=0, flagged=None, price=9000.0):
    prices = (price, price * 1.02, price * 1.01, 5.0) if held > holes else (None,) * 4
    return QualityDay(start, start + DAY, expected, held, held - holes, holes, flagged or {}, *prices)


def hour_gap(start, hours, state="held", reason="the exchange has no bars here"):
    return QualityGap(start, start + hours * HOUR, hours, state, reason)


def minute_gap(start, minutes, state="held", reason="the exchange has no bars here"):
    return QualityGap(start, start + minutes * MINUTE, minutes, state, reason)


def spike(time, code="DATA-009", columns=("high",), value=18_000.0, usual=9000.0):
    return QualityFinding(code, time, columns, value, usual)


def report_of(days, gaps=(), findings=(), *, timeframe="1h", symbol="BTC/USDT", end=None, truncated=False):
    flagged = {}
    for each in days:
        for code, count in each.flagged.items():
            flagged[code] = flagged.get(code, 0) + count
    counts = [sum(getattr(each, name) for each in days) for name in ("expected_bars", "held_bars", "rows", "holes")]
    made_of = QualityEvidence(*counts, flagged, end, 0, 0, 0, None)
    start, until = (days[0].start, end or days[-1].start + DAY) if days else (None, None)
    known = ("binance", symbol, timeframe, start, until, QualityScores.of(made_of), made_of)
    return QualityReport(*known, tuple(days), tuple(gaps), tuple(findings), truncated)


@pytest.fixture
def year():
    """2020 with the outage of June, a day that failed, one before listing, and two odd bars."""
    days = [day(START + number * DAY) for number in range(366)]
    days[0] = day(START, expected=0, held=0)
    days[100] = day(START + 100 * DAY, held=0)
    days[179] = day(OUTAGE - 2 * HOUR, holes=3)
    days[200] = day(START + 200 * DAY, flagged={"DATA-009": 1, "DATA-019": 1})
    gaps = [
        hour_gap(START, 24, "unlisted", None),
        hour_gap(START + 100 * DAY, 24, "failed", "HTTP 503"),
        hour_gap(OUTAGE, 3),
    ]
    odd = START + 200 * DAY
    return report_of(days, gaps, [spike(odd), spike(odd + HOUR, "DATA-019", ("volume",), 99_000.0, 5.0)])


class Elements(HTMLParser):
    """The elements and texts of a page."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.texts = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    def attributes(self, tag, name):
        return [attributes[name] for each, attributes in self.found if each == tag and name in attributes]


def cells_of(page):
    """Return how many cells there are of each level, and the titles of those that are not full."""
    cells = re.findall(r'<rect class="cell (\w+)" x="\d+" y="\d+"><title>(.*?)</title>', page)
    return {level: sum(each == level for each, _ in cells) for level, _ in cells}, [
        title for level, title in cells if level != "full"
    ]


def counted_by_period(page):
    """Return the table of the calendar."""
    [table] = re.findall(r'<table class="counts">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.splitlines() if row]
    return {name: counts for name, *counts in rows}


# --- What it needs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", ["BTC/USDT", NASTY])
def test_nothing_in_it_points_anywhere_or_runs(year, symbol):
    gaps = [replace(gap, reason=NASTY) for gap in year.gaps]
    page = Elements(html_page(replace(year, symbol=symbol, gaps=tuple(gaps)), MADE_AT))

    assert not {"script", "link", "iframe", "object", "embed", "img", "base", "form", "a", "use", "image"} & {
        tag for tag, _ in page.found
    }
    told = [each for _, attributes in page.found for each in attributes.items()]
    assert {name for name, _ in told if name.startswith("on")} == set()
    assert {"src", "href", "xlink:href", "style", "xmlns"} & {name for name, _ in told} == set()
    assert [value for name, value in told if "//" in (value or "") and name != "aria-label"] == []
    [style] = re.findall(r"<style>(.*?)</style>", html_page(year, MADE_AT), re.DOTALL)
    assert not re.search(r"//|url\(|@import|@font-face", style)


def test_its_policy_allows_its_own_style_and_nothing_else(year):
    page = html_page(year, MADE_AT)

    [policy] = [each["content"] for tag, each in Elements(page).found if tag == "meta" and "http-equiv" in each]
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_texts_of_others_are_shown_letter_by_letter(year):
    odd = replace(year.findings[0], code=NASTY, columns=(NASTY,))
    gap = replace(year.gaps[1], state=NASTY, reason=NASTY)

    page = Elements(html_page(replace(year, exchange=NASTY, symbol=NASTY, gaps=(gap,), findings=(odd,)), MADE_AT))

    assert sum(NASTY in text for text in page.texts) >= 7


# --- What it shows ---------------------------------------------------------------------------------------------------


def test_each_day_is_a_cell_coloured_by_what_is_known_of_it_and_says_so(year):
    levels, titles = cells_of(html_page(year, MADE_AT))

    assert levels == {"shut": 1, "full": 363, "none": 1, "hole": 1}
    assert titles == [
        "2020-01-01: no market, or no closed bar",
        "2020-04-10: 0 of 24 bars held",
        "2020-06-28: 24 of 24 bars held, 3 never made",
    ]
    assert "2020-07-19: 24 of 24 bars held, 2 flagged" in html_page(year, MADE_AT)


def test_the_calendar_is_told_in_words_and_as_a_table_by_the_month(year):
    page = html_page(year, MADE_AT)

    assert (
        'aria-label="2020. All bars are there: 363. All held; less than half never made: 1. Nothing held: 1. '
        'No market, or no closed bar: 1. With something odd: 1. The table below counts them all"'
    ) in page
    rows = counted_by_period(page)
    assert len(rows) == 12
    assert [rows[month] for month in ("2020-01", "2020-02", "2020-04", "2020-06", "2020-07")] == [
        ["30", "0", "0", "1", "0"],
        ["29", "0", "0", "0", "0"],
        ["29", "0", "1", "0", "0"],
        ["29", "1", "0", "0", "0"],
        ["31", "0", "0", "0", "1"],
    ]


def test_a_calendar_of_months_is_told_as_a_table_by_the_year():
    year = QualityDay(START, START + 366 * DAY, 52, 52, 52, 0, {}, 3800.0, 29_000.0, 28_900.0, 1.0)

    page = html_page(report_of([year], timeframe="1w", end=START + 366 * DAY), MADE_AT)

    assert counted_by_period(page) == {"2020": ["12"]}


@pytest.mark.parametrize(
    ("held", "level"), [(24, "full"), (23, "part"), (13, "part"), (12, "less"), (1, "less"), (0, "none")]
)
def test_a_day_is_coloured_by_how_much_is_held(held, level):
    levels, _ = cells_of(html_page(report_of([day(START, held=held)]), MADE_AT))

    assert levels == {level: 1}


@pytest.mark.parametrize(("holes", "level"), [(0, "full"), (1, "hole"), (11, "hole"), (12, "hollow"), (24, "hollow")])
def test_a_held_day_is_coloured_by_how_much_was_never_made(holes, level):
    """Else an outage of most of a day looks as any day of a quiet market."""
    levels, _ = cells_of(html_page(report_of([day(START, holes=holes)]), MADE_AT))

    assert levels == {level: 1}


def test_the_outage_is_one_gap_of_three_bars(year):
    page = html_page(year, MADE_AT)

    assert "<title>2020-06-28T02:00:00Z … 2020-06-28T05:00:00Z: 3 bars: the exchange has no bars here</title>" in page
    assert page.count("2020-06-28 02:00") == 3  # first of its reason, the longest of it, and by itself
    assert "3 h from 2020-06-28 02:00" in page


def marks_of(page):
    """Return the marks of the strip, as they stand there: x, y, width, height and title."""
    pattern = r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"><title>(.*?)</title>'
    return [(*map(float, numbers), title) for *numbers, title in re.findall(pattern, page)]


def test_an_outage_stands_out_of_the_quiet_minutes_around_it():
    """Though there is no piece of the strip, a day of it, without a quiet minute."""
    outage = START + 100 * DAY + 2 * HOUR
    quiet = [minute_gap(START + number * 4 * MINUTE, 1) for number in range(366 * 24 * 15)]
    gaps = [gap for gap in quiet if not outage <= gap.start < outage + 20 * HOUR]
    gaps = sorted([*gaps, hour_gap(outage, 20)], key=lambda gap: gap.start)
    days = [day(START + number * DAY, expected=1440, held=1440, holes=360) for number in range(366)]

    marks = marks_of(html_page(report_of(days, gaps, timeframe="1m"), MADE_AT))

    assert len(marks) > 300
    high = [height for _, _, _, height, _ in marks if height > 4.5]
    assert len(high) in {1, 2}  # the outage may begin in one piece and end in the next
    assert max(high) > 8
    assert all(y + height == 16 for _, y, _, height, _ in marks)


@pytest.mark.parametrize("minutes", [1, 3 * 60])
def test_a_short_gap_in_a_long_time_can_be_seen(minutes):
    days = [day(START + number * DAY) for number in range(366)]

    [(_, y, width, height, title)] = marks_of(
        html_page(report_of(days, [minute_gap(START + 9 * HOUR, minutes)], timeframe="1m"), MADE_AT)
    )

    assert (y, width, height) == (12, 2, 4)
    assert title.startswith("2020-01-01T09:00:00Z … ")


def test_a_gap_that_fills_several_pieces_is_one_mark_as_high_as_its_lane():
    days = [day(START + number * DAY) for number in range(10)]

    whole, *edges = marks_of(html_page(report_of(days, [hour_gap(START, 5 * 24)]), MADE_AT))

    assert len(edges) <= 1  # where it ends within a piece
    assert whole[1:4] == (0, pytest.approx(355, abs=5), 16)
    assert whole[4].startswith("2020-01-01T00:00:00Z … 2020-01-06T00:00:00Z: 120 bars")


def test_gaps_beyond_what_the_report_is_about_are_not_drawn():
    """A strange service might tell of them."""
    gaps = [hour_gap(START - 90 * DAY, 24), hour_gap(START - DAY, 25), hour_gap(START + 9 * DAY, 24)]

    marks = marks_of(html_page(report_of([day(START)], gaps), MADE_AT))

    assert {title[:10] for *_, title in marks} == {"2019-12-31"}
    assert sum(width for _, _, width, _, _ in marks) < 40


@pytest.mark.parametrize("state", ["held", "empty"])
def test_of_many_gaps_those_that_nobody_answered_for_are_listed_first_then_the_longest(year, state):
    quiet = [minute_gap(START + number * 2 * MINUTE, 1, state) for number in range(MOST_ROWS)]
    outage, failed = hour_gap(OUTAGE, 20), minute_gap(OUTAGE + 2 * DAY, 1, "failed", "HTTP 503")

    page = html_page(replace(year, gaps=(*quiet, outage, failed)), MADE_AT)

    [listed] = re.findall(r'aria-label="Gaps">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    rows = [row for row in listed.splitlines() if row]
    assert len(rows) == MOST_ROWS
    assert "2020-06-30 02:00" in rows[0]
    assert "2020-06-28 02:00" in rows[1]
    assert "2020-01-01 00:00" in rows[2]


def test_findings_are_marked_with_code_time_and_value(year):
    page = html_page(year, MADE_AT)

    assert "<title>DATA-009 price outlier, 2020-07-19T00:00:00Z: high 18,000, ×2 of the usual</title>" in page
    assert "<title>DATA-019 volume outlier, 2020-07-19T01:00:00Z: volume 99,000, ×1.98e+04 of the usual</title>" in page


def test_a_finding_with_no_bars_near_has_a_dash_for_what_is_usual(year):
    page = html_page(replace(year, findings=(spike(START + 200 * DAY, usual=None),)), MADE_AT)

    assert "<title>DATA-009 price outlier, 2020-07-19T00:00:00Z: high 18,000</title>" in page
    assert '<td class="number">18,000</td><td class="number">–</td><td class="number"></td></tr>' in page


def test_prices_break_where_there_are_none(year):
    page = html_page(year, MADE_AT)

    assert page.count('<polygon class="band"') == 2  # before and after the day that failed; the first one is not listed
    assert "of a day" in page


def test_a_price_of_another_unit_does_not_squeeze_all_others_into_a_line(year):
    shifted = html_page(replace(year, findings=(spike(START + 9 * DAY, "DATA-022", ("high", "low"), 9e6),)), MADE_AT)

    assert "(a logarithmic axis)" in shifted
    assert "(a logarithmic axis)" not in html_page(replace(year, findings=()), MADE_AT)


@pytest.mark.parametrize("price", [0.0, -5.0])
def test_prices_of_which_there_is_no_logarithm_are_drawn_all_the_same(year, price):
    page = html_page(replace(year, findings=(spike(START + 9 * DAY, value=price),)), MADE_AT)

    assert 'class="mark triangle"' in page


def test_the_axis_of_the_trend_says_where_it_begins(year):
    assert "The axis begins at 0.95, not at 0." in html_page(year, MADE_AT)
    low = report_of([day(START, held=3)])
    assert "The axis begins at" not in html_page(low, MADE_AT)


def test_a_series_of_which_nothing_is_known_says_so():
    page = html_page(report_of([]), MADE_AT)

    assert "Nothing is known of this series" in page
    assert '<h2 id="coverage">' not in page


def test_a_series_without_a_fault_says_so():
    page = html_page(report_of([day(START)]), MADE_AT)

    assert "No time is without rows." in page
    assert "Nothing odd was found." in page


def test_what_the_service_has_left_out_is_told(year):
    gaps = tuple(hour_gap(START + number * 2 * HOUR, 1) for number in range(MOST_ROWS + 1))
    findings = tuple(spike(gap.start) for gap in gaps)
    many = replace(year, gaps=gaps, findings=findings)
    all_told, cut = html_page(many, MADE_AT), html_page(replace(many, truncated=True), MADE_AT)

    assert "Not all gaps and findings are told" not in all_told
    assert f"The longest {MOST_ROWS} of {MOST_ROWS + 1}, first those <code>failed" in all_told
    assert f"The first {MOST_ROWS} of {MOST_ROWS + 1};" in all_told
    assert "Not all gaps and findings are told" in cut
    assert f"The longest {MOST_ROWS} of {MOST_ROWS + 1} that are told, first those <code>failed" in cut
    assert f"The first {MOST_ROWS} of {MOST_ROWS + 1} that are told;" in cut


def test_without_details_there_are_no_prices():
    bare = replace(day(START), low=None, high=None, close=None, volume=None)

    assert "There are no prices to draw." in html_page(report_of([bare]), MADE_AT)


# --- Of long series --------------------------------------------------------------------------------------------------


def test_ten_years_with_a_fault_in_each_hour_are_bounded_and_say_what_was_put_together():
    days = [day(START + number * DAY, flagged={"DATA-009": 24}, price=9000.0 + number) for number in range(3652)]
    findings = [spike(START + number * HOUR, value=18_000.0 + number) for number in range(24 * 3652)]
    gaps = [hour_gap(START + number * 5 * HOUR, 1, reason=f"reason {number % 40}") for number in range(17_000)]

    page = html_page(report_of(days, gaps, findings), MADE_AT)

    assert len(page.encode()) < 1_200_000
    assert "87,648 findings are drawn as " in page
    assert page.count('<path class="mark triangle"') <= 402
    assert "price of 6 days" in page
    assert f"The longest {MOST_ROWS} of 17,000" in page
    assert "The picture has the 8 reasons" in page


def test_more_than_twelve_years_are_told_by_the_month():
    days = [day(START + number * DAY) for number in range(366 * 13)]

    page = html_page(report_of(days), MADE_AT)

    levels, _ = cells_of(page)
    assert (levels, "by the month" in page) == ({"full": 157}, True)


def test_bars_of_a_day_are_told_by_the_day_though_they_are_counted_by_the_year():
    year = QualityDay(START, START + 366 * DAY, 366, 360, 358, 2, {"DATA-020": 1}, 3800.0, 29_000.0, 28_900.0, 1.0)
    failed, hole = START + 10 * DAY, START + 50 * DAY
    gaps = [
        QualityGap(failed, failed + 6 * DAY, 6, "failed", "HTTP 503"),
        QualityGap(hole, hole + 2 * DAY, 2, "held", "the exchange has no bars here"),
    ]
    odd = spike(START + 99 * DAY, "DATA-020", ("close",), 9000.0)

    page = html_page(report_of([year], gaps, [odd], timeframe="1d", end=START + 366 * DAY), MADE_AT)

    levels, _ = cells_of(page)
    assert levels == {"full": 358, "none": 6, "hollow": 2}
    assert page.count('<circle class="flag" cx="6"') + page.count('<circle class="flag"') >= 2
    assert "price of a year" in page


def test_days_that_may_have_no_bars_are_not_shown_as_held_though_no_gap_tells_of_them():
    gaps = [QualityGap(START + number * MINUTE, START + (number + 1) * MINUTE, 1, "held", "") for number in range(1000)]
    listed = day(START, expected=1440, held=1440, holes=1040)

    page = html_page(report_of([listed], gaps, timeframe="1m", end=START + 10 * DAY, truncated=True), MADE_AT)

    levels, titles = cells_of(page)
    assert levels == {"hollow": 1, "shut": 9}
    assert titles[1] == "2020-01-02: no market, or no closed bar"
    assert "no market, or no closed bar: 9" in page


@pytest.mark.parametrize("timeframe", ["1w", "1M"])
def test_longer_bars_are_told_by_the_month(timeframe):
    year = QualityDay(START, START + 366 * DAY, 52, 52, 52, 0, {}, 3800.0, 29_000.0, 28_900.0, 1.0)

    levels, _ = cells_of(html_page(report_of([year], timeframe=timeframe, end=START + 366 * DAY), MADE_AT))

    assert levels == {"full": 12}


# --- In a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture
def _has_chromium():
    """Continuous integration leaves nothing out; elsewhere not everybody has a browser."""
    if not find_chromium():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no Chromium on this machine")


@pytest.fixture
def opened(tmp_path):
    """Return a function that writes the page of a report and returns its address."""

    def write(report):
        path = tmp_path / "report.html"
        path.write_text(html_page(report, MADE_AT), encoding="utf-8")
        return path.as_uri()

    return write


WHAT_IS_SHOWN = """
    const colour = (selector) => getComputedStyle(document.querySelector(selector)).fill;
    return {
        title: document.title,
        texts: document.body.innerText,
        cells: document.querySelectorAll(".calendar .cell").length,
        colours: new Set([...["full", "hole", "none", "shut"].map((level) => colour(`.calendar .${level}`))]).size,
        marks: document.querySelectorAll(".chart .mark").length,
        heights: [...document.querySelectorAll(".chart, .calendar")].map((svg) => svg.getBoundingClientRect().height),
        cellWidth: document.querySelector(".calendar .cell").getBoundingClientRect().width,
        scripts: document.scripts.length,
        loaded: performance.getEntriesByType("resource").length,
        width: document.documentElement.scrollWidth,
        ground: getComputedStyle(document.body).backgroundColor,
    };
"""


@pytest.mark.usefixtures("_has_chromium")
@pytest.mark.parametrize(
    ("width", "is_dark", "ground"),
    [(1100, False, "rgb(255, 255, 255)"), (1100, True, "rgb(18, 23, 29)"), (400, False, "rgb(255, 255, 255)")],
)
async def test_a_browser_shows_it_without_a_complaint_light_and_dark_wide_and_narrow(
    year, opened, width, is_dark, ground
):
    async with open_page() as page:
        await page.look(width=width, is_dark=is_dark)
        await page.goto(opened(year))
        shown = await page.evaluate(WHAT_IS_SHOWN)

    assert page.complaints == []
    assert shown["title"] == "Quality of binance BTC/USDT 1h"
    assert (shown["cells"], shown["colours"], shown["marks"]) == (366, 4, 2)
    assert len(shown["heights"]) == 4
    assert min(shown["heights"]) > 20
    assert shown["cellWidth"] > 5
    assert (shown["scripts"], shown["loaded"]) == (0, 0)
    assert shown["width"] <= width
    assert shown["ground"] == ground
    for words in ("0.997", "DATA-009 price outlier", "HTTP 503", "2020-06-28 02:00", "the exchange has no bars here"):
        assert words in shown["texts"]


@pytest.mark.usefixtures("_has_chromium")
@pytest.mark.parametrize("width", [1100, 400])
async def test_in_a_browser_no_name_of_a_state_is_cut(year, opened, width):
    states = ("held", "empty", "unavailable", "unlisted", "delisted", "failed", "unknown")
    gaps = [hour_gap(START + number * 50 * DAY, 3, state) for number, state in enumerate(states)]

    async with open_page() as page:
        await page.look(width=width)
        await page.goto(opened(replace(year, gaps=tuple(gaps))))
        lefts = await page.evaluate(
            "return [...document.querySelectorAll('.gap > .end')].map((text) => text.getBBox().x)"
        )

    assert len(lefts) == len(states)
    assert min(lefts) >= 0


@pytest.mark.usefixtures("_has_chromium")
async def test_in_a_browser_texts_of_others_stay_texts(year, opened):
    nasty = replace(year, symbol=NASTY, gaps=tuple(replace(gap, reason=NASTY) for gap in year.gaps))

    async with open_page() as page:
        await page.goto(opened(nasty))
        shown = await page.evaluate(WHAT_IS_SHOWN)

    assert page.complaints == []
    assert NASTY in shown["texts"]
    assert (shown["title"], shown["scripts"], shown["loaded"]) == (f"Quality of binance {NASTY} 1h", 0, 0)


@pytest.mark.usefixtures("_has_chromium")
async def test_the_policy_holds_where_something_had_slipped_in(year, tmp_path):
    """As if escaping were broken: neither scripts nor pictures nor styles of others."""
    picture = "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>"
    slipped = f"<script>document.title = 'run'</script>{picture}<p style='color: red'>x"
    path = tmp_path / "slipped.html"
    path.write_text(html_page(year, MADE_AT).replace("<main>", f"<main>{slipped}"), encoding="utf-8")

    async with open_page() as page:
        await page.goto(path.as_uri())
        title = await page.evaluate("return document.title")

    assert title == "Quality of binance BTC/USDT 1h"
    assert len([complaint for complaint in page.complaints if "Content Security Policy" in complaint]) == 3
