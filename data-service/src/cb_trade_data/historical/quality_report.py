"""How good what is stored of some bars is, one page of days at a time. Asks no exchange anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, islice
from typing import Final

import pyarrow as pa

from cb_trade_data.errors import BarTooLongError, PartitionChangedError
from cb_trade_data.historical.comparing import StoredSide, compare_stored
from cb_trade_data.historical.ledger import tiles
from cb_trade_data.historical.quality_days import (
    DayQuality,
    Gap,
    days_of,
    findings_within,
    gaps_of,
    joined,
    tells_of_more,
    with_prices,
)
from cb_trade_data.historical.reach import Reach
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.models.partition import Partition, partitions_of
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality.evidence import Evidence, evidence_of, unit_of
from cb_trade_data.quality.inspection import Finding, inspect
from cb_trade_data.quality.scores import Measures, Scores
from cb_trade_data.storage.coverage import Coverage, State
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.stored_partition import StoredPartition

# Of a page. A year of minutes; of partitions without evidence, or of which only a part of a day is wanted, the rows.
_PARTITIONS_MAX: Final = 12
_ROWS_MAX: Final = 1_000_000
# Of a page with details.
_DETAILED_DAYS_MAX: Final = 31
_DETAILED_BARS_MAX: Final = 100_000
_LISTED_MAX: Final = 1_000
# For a page, all sources that are tried, and one of them, are read so long: clients wait two minutes for an answer.
ACCURACY_SECS: Final = 30.0
_SOURCE_SECS: Final = 15.0
# How many partitions without a bar there may be at the end before the newest bar is not looked for any more.
_LOOKED_BACK_MAX: Final = 12


@dataclass(frozen=True)
class Details:
    """What only the rows tell.

    Attributes:
        gaps: All times without rows, oldest first; of a page of one day, the first thousand.
        findings: What is odd in single rows, oldest first; of a page of one day, the first thousand.
        compared_with: What bars were made of to be compared with: `trades`, or a shorter timeframe; None where nothing
            of that is stored.
        is_truncated: Whether there are more gaps or findings: in a single day, for else the page ends before them.
    """

    gaps: tuple[Gap, ...] = ()
    findings: tuple[Finding, ...] = ()
    compared_with: str | None = None
    is_truncated: bool = False


@dataclass(frozen=True)
class QualityPage:
    """How good a range of bars is, or its first part.

    Attributes:
        range: What the page tells about; None where no bar has closed in it, or nothing is known of the series.
        measures: Those of all its days, and of the bars that were compared.
        newest_end: Where the newest held bar of the series ends; None where there is none.
        bars_behind: How many closed bars come after it; None as well where only the past was asked about.
        details: None where nobody asked for any.
        is_last: Whether the range that was asked about ends here; if not, ask again from `range.end`.
    """

    range: TimeRange | None = None
    days: tuple[DayQuality, ...] = ()
    measures: Measures = field(default_factory=Measures)
    newest_end: datetime | None = None
    bars_behind: int | None = None
    details: Details | None = None
    is_last: bool = True

    @property
    def scores(self) -> Scores:
        """How good all that is."""
        return Scores.of(self.measures, self.bars_behind)


@dataclass
class _SoFar:
    """What was found in one partition after the other, with or without details."""

    with_details: bool
    days: list[DayQuality] = field(default_factory=list)
    gaps: list[Iterable[Gap]] = field(default_factory=list)
    findings: list[Iterable[Finding]] = field(default_factory=list)


@dataclass(frozen=True)
class _Looked:
    """What a look at a part of a partition showed. Rows from before the listing or after the delisting are none of it.

    Attributes:
        stored_rows: How many were read for it.
        rows: Those of the part, where they were looked at.
        findings: What is odd in these.
    """

    coverage: Coverage = field(default_factory=Coverage)
    evidence: Evidence | None = field(default_factory=dict)
    stored_rows: int = 0
    rows: pa.Table = field(default_factory=OHLCV_SCHEMA.empty_table)
    findings: Iterable[Finding] = ()


async def report_quality(
    storage: IStorageManager,
    side: StoredSide,
    partitions: Sequence[Partition],
    bars: TimeRange,
    closed_until: datetime,
    *,
    details: bool,
    limit: int,
) -> QualityPage:
    """Return how good *bars* are, or the first of them.

    Args:
        partitions: Those that are stored of the series, oldest first.
        bars: With edges on the grid, none of which is still open.
        closed_until: Where the newest closed bar ends.
        details: Whether the rows are looked at, which are not read otherwise where evidence lies with them.
        limit: The most days.
    """
    grid = side.series.grid
    page = _page(bars, grid, limit, details=details)
    stored, reads, rows, end = set(partitions), 0, 0, page.start
    so_far = _SoFar(details)
    for partition, part in partitions_of(side.series, page):
        looked, listed = _Looked(), side.reach.facts.listed_part(part)
        if partition in stored and listed is not None:
            if reads == _PARTITIONS_MAX or rows >= _ROWS_MAX:
                break
            looked = await _look(storage, partition, listed, grid, details=details)
            reads, rows = reads + 1, rows + looked.stored_rows
        await asyncio.to_thread(_add, so_far, looked, part, side)
        end = part.end
    found, days = None, so_far.days
    if details:
        found, end = await asyncio.to_thread(_details, so_far, TimeRange(page.start, end), grid)
        days = [day for day in days if day.range.start < end]
    newest_end = await _newest_end(storage, side, partitions, closed_until)
    return QualityPage(
        TimeRange(page.start, end),
        tuple(days),
        sum((day.measures for day in days), Measures()),
        newest_end,
        None if newest_end is None else _bars_behind(side, newest_end, closed_until),
        found,
        is_last=end == bars.end,
    )


async def with_accuracy(
    storage: IStorageManager, page: QualityPage, bars: StoredSide, source: StoredSide, until_secs: float
) -> QualityPage | None:
    """Return a detailed *page* with how many of its bars agree with those that *source* makes.

    Shorter bars are gone through a month at a time, to the end of the page; of trades, the first month is.

    Args:
        source: Trades, or shorter bars that those of *bars* are made of.
        until_secs: When to read no more, by the loop's time.

    Returns:
        None where nothing that could be compared is stored of *source*, or none of it could be read in time or as a
        whole.
    """
    wanted = None if page.range is None else bars.series.grid.snap(page.range)
    if wanted is None or page.details is None:
        return None
    loop = asyncio.get_running_loop()
    until_secs = min(until_secs, loop.time() + _SOURCE_SECS)
    is_trades = source.series.kind is Kind.TRADES
    partitions = await storage.list_partitions(source.series)
    compared, differing = 0, 0
    while (left_secs := until_secs - loop.time()) > 0:
        try:
            comparison = await compare_stored(
                storage, bars, source, partitions, wanted, reading_secs=left_secs, bar_secs=left_secs
            )
        except (BarTooLongError, PartitionChangedError):
            break  # Everything else that the page tells is true all the same.
        compared, differing = compared + comparison.bars_compared, differing + comparison.bars_that_differ
        if is_trades or comparison.is_last or comparison.range is None:
            break
        wanted = TimeRange(comparison.range.end, wanted.end)
    if compared == 0:
        return None
    name = "trades" if is_trades else str(source.series.timeframe)
    return replace(
        page,
        measures=page.measures + Measures(compared_bars=compared, differing_bars=differing),
        details=replace(page.details, compared_with=name),
    )


def shorter(bars: Series, timeframes: Iterable[str]) -> list[Timeframe]:
    """Return those of *timeframes* of which whole bars of the series are made, the longest first."""
    made_of = filter(bars.grid.is_made_of, map(Timeframe.parse, timeframes))
    return sorted(made_of, key=lambda each: each.duration_ms, reverse=True)


def _page(bars: TimeRange, grid: Timeframe, limit: int, *, details: bool) -> TimeRange:
    """Return the first days of *bars*: no more than a page may tell about, and one at least."""
    unit = unit_of(grid)
    if details:
        limit = max(1, min(limit, _DETAILED_DAYS_MAX, _DETAILED_BARS_MAX * grid.duration // unit.duration))
    return TimeRange(bars.start, min(unit.advance(bars.start, limit), bars.end))


async def _look(
    storage: IStorageManager, partition: Partition, part: TimeRange, grid: Timeframe, *, details: bool
) -> _Looked:
    if not details:
        outline = await storage.outline(partition)
        if outline.evidence is not None and not await asyncio.to_thread(tells_of_more, part, outline.coverage, grid):
            return _Looked(outline.coverage, outline.evidence)
    stored = await storage.read(partition, partition.range)
    return await asyncio.to_thread(_looked_at, stored, part, grid)


def _looked_at(stored: StoredPartition, part: TimeRange, grid: Timeframe) -> _Looked:
    # All of it, as when it was written: what lies around a part has a say in what is odd there.
    inspection = inspect(stored.rows, grid)
    evidence = evidence_of(inspection, part)
    findings = findings_within(part, inspection)
    return _Looked(stored.coverage, evidence, stored.rows.num_rows, stored.rows_in(part), findings)


def _add(so_far: _SoFar, looked: _Looked, part: TimeRange, side: StoredSide) -> None:
    grid = side.series.grid
    segments = list(tiles(part, looked.coverage, side.reach))
    days = days_of(part, segments, grid, looked.evidence)
    if so_far.with_details:
        days = with_prices(days, looked.rows, grid)
        so_far.gaps.append(gaps_of(segments, looked.rows, grid))
        so_far.findings.append(looked.findings)
    so_far.days += days


def _details(so_far: _SoFar, page: TimeRange, grid: Timeframe) -> tuple[Details, datetime]:
    """Return the details of the first days of *page*, and where these end: where a list has no room for the next day.

    One day is told about at least; if its own lists are too long, they are cut.
    """
    gaps = list(islice(joined(chain.from_iterable(so_far.gaps)), _LISTED_MAX + 1))
    findings = list(islice(chain.from_iterable(so_far.findings), _LISTED_MAX + 1))
    no_room = [gap.range.start for gap in gaps[_LISTED_MAX:]] + [finding.time for finding in findings[_LISTED_MAX:]]
    end, unit = page.end, unit_of(grid)
    if no_room:
        end = min(end, max(unit.advance(page.start, 1), unit.floor(min(no_room))))
    details = Details(
        tuple(_until(end, gaps[:_LISTED_MAX], grid)),
        tuple(finding for finding in findings[:_LISTED_MAX] if finding.time < end),
        is_truncated=any(time < end for time in no_room),
    )
    return details, end


def _until(end: datetime, gaps: Iterable[Gap], grid: Timeframe) -> Iterator[Gap]:
    """Yield those *gaps* that begin before *end*, as far as they lie before it."""
    for gap in gaps:
        if gap.range.end <= end:
            yield gap
        elif gap.range.start < end and (bars := grid.bars_in(before := TimeRange(gap.range.start, end))):
            yield replace(gap, range=before, bars=bars)


async def _newest_end(
    storage: IStorageManager, side: StoredSide, partitions: Sequence[Partition], closed_until: datetime
) -> datetime | None:
    """Return where the newest held bar ends, as far as it has closed."""
    for partition in reversed(partitions[-_LOOKED_BACK_MAX:]):
        coverage = await storage.coverage(partition)
        if (end := await asyncio.to_thread(_held_until, coverage, side.reach, partition.range)) is not None:
            return min(end, closed_until)
    return None


def _held_until(coverage: Coverage, reach: Reach, wanted: TimeRange) -> datetime | None:
    held = (segment.range.end for segment in reach.known(coverage, wanted) if segment.state is State.HELD)
    return max(held, default=None)


def _bars_behind(side: StoredSide, newest_end: datetime, closed_until: datetime) -> int:
    listed = side.reach.facts.listed_part(TimeRange(newest_end, closed_until)) if newest_end < closed_until else None
    return 0 if listed is None else side.series.grid.bars_in(listed)
