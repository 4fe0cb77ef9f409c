"""How good what is stored of some bars is, one page of days at a time. Asks no exchange anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Final, TypeVar

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
    tells_of_more,
    with_prices,
)
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.models.partition import Partition, partitions_of
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality.evidence import Evidence, evidence_of, unit_of
from cb_trade_data.quality.inspection import Finding, Inspection, inspect
from cb_trade_data.quality.scores import Measures, Scores
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.stored_partition import StoredPartition

# Of a page. A year of minutes; of partitions without evidence, or of which only a part of a day is wanted, the rows.
_PARTITIONS_MAX: Final = 12
_ROWS_MAX: Final = 1_000_000
# Of a page with details.
_DETAILED_DAYS_MAX: Final = 31
_DETAILED_BARS_MAX: Final = 100_000
_LISTED_MAX: Final = 1_000
# How often the next month of shorter bars is compared; of trades, the first one is.
_COMPARISONS_MAX: Final = 12
# For a page, all sources that are tried, and one of them, are read so long: clients wait two minutes for an answer.
ACCURACY_SECS: Final = 30.0
_SOURCE_SECS: Final = 15.0
# How many partitions without a bar there may be at the end before the newest bar is not looked for any more.
_LOOKED_BACK_MAX: Final = 12

_DAY: Final = Timeframe(1, "d")

T = TypeVar("T")


@dataclass(frozen=True)
class Details:
    """What only the rows tell.

    Attributes:
        gaps: All times without rows, oldest first; the first thousand.
        findings: What is odd in single rows, oldest first; the first thousand.
        compared_with: What bars were made of to be compared with: `trades`, or a shorter timeframe; None where nothing
            of that is stored.
    """

    gaps: tuple[Gap, ...] = ()
    findings: tuple[Finding, ...] = ()
    compared_with: str | None = None
    is_truncated: bool = False

    @classmethod
    def of(cls, gaps: Iterable[Gap], findings: Iterable[Finding]) -> Details:
        """Return the first of each."""
        first_gaps, more_gaps = _first(_joined(gaps))
        first_findings, more_findings = _first(findings)
        return cls(first_gaps, first_findings, is_truncated=more_gaps or more_findings)


@dataclass(frozen=True)
class QualityPage:
    """How good a range of bars is, or its first part.

    Attributes:
        range: What the page tells about; None where no bar has closed in it.
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
    """What a look at a part of a partition showed.

    Attributes:
        stored_rows: How many were read for it.
        rows: Those of the part, where they were looked at.
        inspection: Of all that were read.
    """

    coverage: Coverage = field(default_factory=Coverage)
    evidence: Evidence | None = field(default_factory=dict)
    stored_rows: int = 0
    rows: pa.Table = field(default_factory=OHLCV_SCHEMA.empty_table)
    inspection: Inspection | None = None


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
        looked = _Looked()
        if partition in stored and side.reach.facts.listed_part(part) is not None:
            if reads == _PARTITIONS_MAX or rows >= _ROWS_MAX:
                break
            looked = await _look(storage, partition, part, grid, details=details)
            reads, rows = reads + 1, rows + looked.stored_rows
        await asyncio.to_thread(_add, so_far, looked, list(tiles(part, looked.coverage, side.reach)), part, grid)
        end = part.end
    newest_end = await _newest_end(storage, side, partitions, closed_until)
    return QualityPage(
        TimeRange(page.start, end),
        tuple(so_far.days),
        sum((day.measures for day in so_far.days), Measures()),
        newest_end,
        None if newest_end is None else _bars_behind(side, newest_end, closed_until),
        await asyncio.to_thread(_details, so_far) if details else None,
        is_last=end == bars.end,
    )


async def with_accuracy(
    storage: IStorageManager, page: QualityPage, bars: StoredSide, source: StoredSide, until_secs: float
) -> QualityPage | None:
    """Return a detailed *page* with how many of its bars agree with those that *source* makes.

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
    for _ in range(1 if is_trades else _COMPARISONS_MAX):
        left_secs = until_secs - loop.time()
        if left_secs <= 0:
            break
        try:
            comparison = await compare_stored(
                storage, bars, source, partitions, wanted, reading_secs=left_secs, bar_secs=left_secs
            )
        except (BarTooLongError, PartitionChangedError):
            break  # Everything else that the page tells is true all the same.
        compared, differing = compared + comparison.bars_compared, differing + comparison.bars_that_differ
        if comparison.is_last or comparison.range is None:
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
    finer = [each for each in map(Timeframe.parse, timeframes) if each.duration_ms < bars.grid.duration_ms]
    made_of = [each for each in finer if (_DAY if bars.grid.is_calendar else bars.grid).holds(each)]
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
        if outline.evidence is not None and not tells_of_more(part, outline.coverage, grid):
            return _Looked(outline.coverage, outline.evidence)
    stored = await storage.read(partition, partition.range)
    return await asyncio.to_thread(_looked_at, stored, part, grid)


def _looked_at(stored: StoredPartition, part: TimeRange, grid: Timeframe) -> _Looked:
    # All of it, as when it was written: what lies around a part has a say in what is odd there.
    inspection = inspect(stored.rows, grid)
    evidence = evidence_of(inspection, part)
    return _Looked(stored.coverage, evidence, stored.rows.num_rows, stored.rows_in(part), inspection)


def _add(so_far: _SoFar, looked: _Looked, segments: Sequence[Segment], part: TimeRange, grid: Timeframe) -> None:
    days = days_of(part, segments, grid, looked.evidence)
    if so_far.with_details:
        days = with_prices(days, looked.rows, grid)
        so_far.gaps.append(gaps_of(segments, looked.rows, grid))
        if looked.inspection is not None:
            so_far.findings.append(findings_within(part, looked.inspection))
    so_far.days += days


def _details(so_far: _SoFar) -> Details:
    return Details.of(chain.from_iterable(so_far.gaps), chain.from_iterable(so_far.findings))


async def _newest_end(
    storage: IStorageManager, side: StoredSide, partitions: Sequence[Partition], closed_until: datetime
) -> datetime | None:
    """Return where the newest held bar ends, as far as it has closed."""
    for partition in reversed(partitions[-_LOOKED_BACK_MAX:]):
        known = side.reach.known(await storage.coverage(partition), partition.range)
        if held := [segment.range.end for segment in known if segment.state is State.HELD]:
            return min(held[-1], closed_until)
    return None


def _bars_behind(side: StoredSide, newest_end: datetime, closed_until: datetime) -> int:
    listed = side.reach.facts.listed_part(TimeRange(newest_end, closed_until)) if newest_end < closed_until else None
    return 0 if listed is None else side.series.grid.bars_in(listed)


def _joined(gaps: Iterable[Gap]) -> Iterable[Gap]:
    """Yield *gaps*, in order, with neighbours that are one made one: parts of it lay in several partitions."""
    current: Gap | None = None
    for gap in gaps:
        if current is not None and current.joins(gap):
            current = replace(
                current, range=TimeRange(current.range.start, gap.range.end), bars=current.bars + gap.bars
            )
            continue
        if current is not None:
            yield current
        current = gap
    if current is not None:
        yield current


def _first(things: Iterable[T]) -> tuple[tuple[T, ...], bool]:
    """Return the first thousand *things*, and whether there are more."""
    first: list[T] = []
    for thing in things:
        if len(first) == _LISTED_MAX:
            return tuple(first), True
        first.append(thing)
    return tuple(first), False
