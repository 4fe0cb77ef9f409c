"""A calendar of a coverage report, in a few lines of text: one cell for each month or day, shaded by what is held."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cb_trade_client.answers import CoverageSegment

NOTHING, PARTLY, ALL = "·", "░▒▓", "█"
_IN_PART = " ".join(reversed(PARTLY))
LEGEND = f"{ALL} all held   {_IN_PART} in part   {NOTHING} nothing   blank: outside the range, or not listed"

# Up to so many months are shown day by day.
_MONTHS_OF_DAYS = 3
_DAY = timedelta(days=1)

#: States of times at which there was no market.
WITHOUT_MARKET = frozenset({"unlisted", "delisted"})


@dataclass(frozen=True, slots=True)
class Cell:
    """A month or a day: how much of it the report tells about, and how much of that is held."""

    told: timedelta = timedelta()
    held: timedelta = timedelta()

    def __str__(self) -> str:
        if not self.told:
            return " "
        if self.held in {timedelta(), self.told}:
            return ALL if self.held else NOTHING
        return PARTLY[self.held * len(PARTLY) // self.told]

    def with_part(self, length: timedelta, *, is_held: bool) -> "Cell":
        """Return the cell after a part of it was told."""
        return Cell(self.told + length, self.held + (length if is_held else timedelta()))


def calendar_strip(segments: Sequence[CoverageSegment]) -> list[str]:
    """Return a header and one line for each year (a cell per month), or for each month of a short range (per day).

    Args:
        segments: Of a report, oldest first.
    """
    told = [segment for segment in segments if segment.state not in WITHOUT_MARKET]
    if not told:
        return []
    first, last = told[0].start, told[-1].end - timedelta(milliseconds=1)
    if (last.year - first.year) * 12 + last.month - first.month < _MONTHS_OF_DAYS:
        return _by_day(told)
    return _by_month(told, range(first.year, last.year + 1))


def _by_month(segments: Iterable[CoverageSegment], years: range) -> list[str]:
    cells = _cells(segments, _month_of, _next_month)
    months = [[datetime(year, month, 1, tzinfo=UTC) for month in range(1, 13)] for year in years]
    lines = [f"{year[0]:%Y}     " + " ".join(str(cells[month]) for month in year) for year in months]
    return ["         J F M A M J J A S O N D", *lines]


def _by_day(segments: Iterable[CoverageSegment]) -> list[str]:
    cells = _cells(segments, _day_of, lambda day: day + _DAY)
    lines = []
    for month in sorted({_month_of(day) for day in cells}):
        days = range((_next_month(month) - month).days)
        lines.append(f"{month:%Y-%m}  " + "".join(str(cells[month + number * _DAY]) for number in days))
    return ["         1   5    10   15   20   25   30", *lines]


def _cells(
    segments: Iterable[CoverageSegment],
    floor: Callable[[datetime], datetime],
    following: Callable[[datetime], datetime],
) -> defaultdict[datetime, Cell]:
    """Return the cells that *segments* touch, by their start; the others are blank."""
    cells: defaultdict[datetime, Cell] = defaultdict(Cell)
    for segment in segments:
        cursor = segment.start
        while cursor < segment.end:
            start = floor(cursor)
            until = min(segment.end, following(start))
            cells[start] = cells[start].with_part(until - cursor, is_held=segment.state == "held")
            cursor = until
    return cells


def _month_of(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, 1, tzinfo=UTC)


def _next_month(month: datetime) -> datetime:
    return _month_of(month + 31 * _DAY)


def _day_of(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
