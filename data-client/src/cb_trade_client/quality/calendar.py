"""A calendar of a report: a cell for each day, by what is known of it; of many years, or long bars, for each month."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Final

from cb_trade_client.calendar_strip import WITHOUT_MARKET
from cb_trade_client.quality.report import QualityReport
from cb_trade_client.quality.trend import has_years

MOST_YEARS_OF_DAYS: Final = 12

PITCH: Final = 11
"""From one cell to the next."""

#: Each level with what it says, in the order of the legend.
LEVELS: Final = {
    "full": "all bars are there",
    "hole": "all held; less than half never made",
    "hollow": "all held; half or more never made",
    "part": "less than half missing",
    "less": "half or more missing",
    "none": "nothing held",
    "shut": "no market, or no closed bar",
}

_DAY: Final = timedelta(days=1)
_MONTH_NAMES: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a day or a month: its bars; or its days, where bars last one or longer."""

    expected: int = 0
    held: int = 0
    holes: int = 0
    flagged: int = 0

    def __add__(self, other: "Facts") -> "Facts":
        return Facts(
            self.expected + other.expected,
            self.held + other.held,
            self.holes + other.holes,
            self.flagged + other.flagged,
        )

    @property
    def level(self) -> str:
        """One of `LEVELS`."""
        if not self.expected:
            return "shut"
        if self.held >= self.expected:
            return "full" if not self.holes else "hollow" if self.holes * 2 >= self.expected else "hole"
        if not self.held:
            return "none"
        return "part" if self.held * 2 > self.expected else "less"


@dataclass(frozen=True, slots=True)
class Cell:
    """A day or a month in the picture; its facts in words are its title.

    Attributes:
        period: The month, or the year, that it is a part of.
    """

    period: str
    x: int
    y: int
    level: str
    title: str
    is_flagged: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """How many cells of some time have each level, and how many have something odd in them."""

    name: str
    levels: Mapping[str, int]
    flagged: int

    @classmethod
    def of(cls, name: str, cells: Iterable[Cell]) -> "Counts":
        counted = list(cells)
        return cls(name, Counter(cell.level for cell in counted), sum(cell.is_flagged for cell in counted))


@dataclass(frozen=True, slots=True)
class YearOfCells:
    """The cells of a year; `labels` are the months with where they begin."""

    name: str
    cells: tuple[Cell, ...]
    labels: tuple[tuple[int, str], ...]
    columns: int
    rows: int

    @property
    def counts(self) -> Counts:
        """Those of all its cells."""
        return Counts.of(self.name, self.cells)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Years, oldest first.

    Attributes:
        counts: Those of all cells.
        periods: Those of each month, or of each year where the cells are months.
    """

    years: tuple[YearOfCells, ...]
    is_of_months: bool
    counts: Counts
    periods: tuple[Counts, ...]


def calendar(report: QualityReport) -> Calendar | None:
    """Return the calendar of *report*; None where it tells of no time."""
    if report.start is None or report.end is None:
        return None
    is_by_year = has_years(report.timeframe)
    dates = [report.start.date() + number * _DAY for number in range(-(-(report.end - report.start) // _DAY) or 1)]
    facts = (_facts_by_gaps if is_by_year else _facts_as_counted)(report, dates)
    is_of_months = report.timeframe[-1:] in {"w", "M"} or report.end.year - report.start.year >= MOST_YEARS_OF_DAYS
    unit = "days" if is_by_year else "bars"
    years = tuple(
        (_year_of_months if is_of_months else _year_of_days)(year, dict(days), unit)
        for year, days in groupby(facts.items(), lambda item: item[0].year)
    )
    cells = [cell for each in years for cell in each.cells]
    periods = tuple(Counts.of(name, group) for name, group in groupby(cells, lambda cell: cell.period))
    return Calendar(years, is_of_months, Counts.of("", cells), periods)


def _facts_as_counted(report: QualityReport, dates: Iterable[date]) -> dict[date, Facts]:
    """Return the facts of each of *dates*. The report leaves out those that may have no bars."""
    facts = dict.fromkeys(dates, Facts())
    for each in report.days:
        facts[each.start.date()] = Facts(each.expected_bars, each.held_bars, each.holes, each.flagged_rows)
    return facts


def _facts_by_gaps(report: QualityReport, dates: Iterable[date]) -> dict[date, Facts]:
    """Return the facts of each of *dates*, which are not counted one by one: those in no gap are whole.

    All gaps of such bars are told: a service leaves some out only of a year with more than five thousand.
    """
    facts = dict.fromkeys(dates, Facts(1, 1))
    for gap in report.gaps:
        state = gap.state
        missing = Facts() if state in WITHOUT_MARKET else Facts(1, 1, 1) if state == "held" else Facts(1, 0)
        day = gap.start.date()
        while day <= (gap.end - timedelta(milliseconds=1)).date():
            if day in facts:
                facts[day] = missing
            day += _DAY
    for finding in report.findings:
        if (day := finding.time.date()) in facts:
            facts[day] += Facts(flagged=1)
    return facts


def _year_of_days(year: int, facts: Mapping[date, Facts], unit: str) -> YearOfCells:
    before = date(year, 1, 1).weekday()  # Mondays are the first row
    cells = []
    for day, each in facts.items():
        column, row = divmod((day - date(year, 1, 1)).days + before, 7)
        title = f"{day}: {_in_words(each, unit)}"
        cells.append(Cell(f"{day:%Y-%m}", column * PITCH, row * PITCH, each.level, title, each.flagged > 0))
    firsts = [(date(year, month, 1) - date(year, 1, 1)).days + before for month in range(1, 13)]
    labels = tuple((-(-first // 7) * PITCH, name) for first, name in zip(firsts, _MONTH_NAMES, strict=True))
    return YearOfCells(str(year), tuple(cells), labels, columns=54, rows=7)


def _year_of_months(year: int, facts: Mapping[date, Facts], unit: str) -> YearOfCells:
    months: defaultdict[int, Facts] = defaultdict(Facts)
    for day, each in facts.items():
        months[day.month] += each
    cells = []
    for month, each in months.items():
        title = f"{year}-{month:02}: {_in_words(each, unit)}"
        cells.append(Cell(str(year), (month - 1) * PITCH, 0, each.level, title, each.flagged > 0))
    labels = tuple((number * PITCH, name[0]) for number, name in enumerate(_MONTH_NAMES))
    return YearOfCells(str(year), tuple(cells), labels, columns=12, rows=1)


def _in_words(facts: Facts, unit: str) -> str:
    if not facts.expected:
        return "no market, or no closed bar"
    words = [f"{facts.held:,} of {facts.expected:,} {unit} held"]
    if facts.holes:
        words.append(f"{facts.holes:,} never made")
    if facts.flagged:
        words.append(f"{facts.flagged:,} flagged")
    return ", ".join(words)
