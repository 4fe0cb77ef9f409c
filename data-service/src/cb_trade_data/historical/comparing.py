"""Comparing what is stored: the bars of an exchange with those that its trades, or its shorter bars, make.

Asks no exchange anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import pyarrow as pa

from cb_trade_data.errors import BarTooLongError, PartitionChangedError
from cb_trade_data.historical.pieces import read_by_pieces
from cb_trade_data.historical.reach import Reach
from cb_trade_data.historical.rebuilding import Difference, compared, folded, rebuilt, whole_bars
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.models.partition import Partition, partitions_of, pieces_of
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange, intersect_all, join, subtract
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.stored_partition import StoredPartition

# Of a page. Trades are gone through by the hour, shorter bars by the partition, bars are held until all are there.
_TRADES_AT_MOST: Final = timedelta(days=31)
_BARS_MAX: Final = 100_000
_DIFFERENCES_MAX: Final = 1_000
# After that no more trades are read for a page, and for its first bar at most so long: clients wait two minutes for an
# answer.
_READING_SECS: Final = 20.0
_BAR_SECS: Final = 90.0

# How often a day is read that changes meanwhile, so that its hours do not fit together.
_READS_MAX: Final = 3


@dataclass(frozen=True)
class ComparisonPage:
    """What comes of comparing a range, or its first part.

    Attributes:
        range: What the page tells about, with edges on the grid; None where no bar has closed in it.
        bars_compared: How many bars there are, by trades or exchange, where both are stored.
        bars_that_differ: How many of them differ.
        differences: Those of them, oldest first; the first thousand where there are more.
        without_trades: How much of the range lies in bars of which not all trades are stored.
        without_bars: How much of the rest lies in bars that are not stored, and may be there.
        is_last: Whether the range that was asked about ends here; if not, ask again from `range.end`.
    """

    range: TimeRange | None
    bars_compared: int
    bars_that_differ: int
    differences: tuple[Difference, ...]
    without_trades: timedelta
    without_bars: timedelta
    is_last: bool

    @classmethod
    def empty(cls) -> ComparisonPage:
        """Return the page of a range in which no bar has closed."""
        return cls(None, 0, 0, (), timedelta(), timedelta(), is_last=True)


@dataclass(frozen=True)
class StoredSide:
    """One of the two series that are compared, and the reach into it at present."""

    series: Series
    reach: Reach

    def known(self, stored: StoredPartition, part: TimeRange, *states: State) -> Iterator[TimeRange]:
        """Yield where a *part* of what is *stored* is in one of *states*, oldest first."""
        return (each.range for each in self.reach.known(stored.coverage, part) if each.state in states)


async def compare_stored(
    storage: IStorageManager,
    bars: StoredSide,
    trades: StoredSide,
    days: Sequence[Partition],
    wanted: TimeRange,
    *,
    reading_secs: float = _READING_SECS,
    bar_secs: float = _BAR_SECS,
) -> ComparisonPage:
    """Compare what is stored of *wanted*, or of its first part.

    Args:
        trades: Or shorter bars, of which those of *bars* are made: what is said of trades below is then said of these.
        days: The partitions of *trades* that are stored, oldest first.
        wanted: With edges on the grid of *bars*.
        reading_secs: How long trades are read for one page, unless its first bar takes longer.
        bar_secs: How long they are read for that.

    Raises:
        BarTooLongError: The trades of the first bar take longer to read.
        PartitionChangedError: A day of trades changed again and again while it was read.
        StorageUnavailableError: Storage cannot be read.
    """
    begun_secs = asyncio.get_running_loop().time()
    grid = bars.series.grid
    page, stretch = _page(wanted, grid, days)
    told, told_in = await _told(storage, bars, stretch)
    made, made_in = OHLCV_SCHEMA.empty_table(), list[TimeRange]()
    if stretch is not None:
        made, made_in, until = await _Making(
            storage, trades, stretch, grid, told_in, begun_secs, reading_secs, bar_secs
        ).made()
        page = TimeRange(page.start, until)
    spans = list(intersect_all(made_in, told_in))
    comparison = await asyncio.to_thread(compared, made, told, spans, differences_max=_DIFFERENCES_MAX)
    listed = list(subtract([page], [*bars.reach.facts.absent, *trades.reach.facts.absent]))
    return ComparisonPage(
        page,
        comparison.bars,
        comparison.differing,
        comparison.differences,
        without_trades=_length(subtract(listed, made_in)),
        without_bars=_length(subtract(intersect_all(listed, made_in), told_in)),
        is_last=page.end == wanted.end,
    )


def _page(wanted: TimeRange, grid: Timeframe, days: Sequence[Partition]) -> tuple[TimeRange, TimeRange | None]:
    """Return the first part of *wanted* that a page tells about, and the part of that in which trades may be stored.

    What lies before the first stored day costs nothing, and counts for nothing. A bar that is longer than a page has
    one of its own.
    """
    first = next((shared for day in days if (shared := day.range.intersect(wanted)) is not None), None)
    if first is None:
        return wanted, None
    start = grid.floor(first.start)
    end = grid.floor(start + min(_TRADES_AT_MOST, _BARS_MAX * grid.duration))
    end = min(max(end, grid.advance(start, 1)), wanted.end)
    return TimeRange(wanted.start, end), TimeRange(start, end)


async def _told(
    storage: IStorageManager, bars: StoredSide, stretch: TimeRange | None
) -> tuple[pa.Table, list[TimeRange]]:
    """Return the bars that are stored of *stretch*, and where they are."""
    rows, held = [OHLCV_SCHEMA.empty_table()], list[TimeRange]()
    for partition, part in _partitions(bars.series, stretch):
        stored = await storage.read(partition, part)
        rows.append(stored.rows_in(part))
        held += bars.known(stored, part, State.HELD)
    return pa.concat_tables(rows), list(join(held))


class _Making:
    """Makes bars of the stored trades of a stretch, or of its first part where that takes long.

    Trades are read only where bars are told. Where the market is not listed it is known that there are none.
    """

    def __init__(
        self,
        storage: IStorageManager,
        trades: StoredSide,
        stretch: TimeRange,
        grid: Timeframe,
        told_in: Sequence[TimeRange],
        begun_secs: float,
        reading_secs: float,
        bar_secs: float,
    ) -> None:
        """*begun_secs*: by the loop's time; the others see `compare_stored`."""
        self._storage = storage
        self._trades = trades
        self._stretch = stretch
        self._grid = grid
        self._told_in = told_in
        self._begun_secs = begun_secs
        self._reading_secs = reading_secs
        self._bar_secs = bar_secs

    async def made(self) -> tuple[pa.Table, list[TimeRange], datetime]:
        """Return the bars, where all trades of a bar are known, and until when the trades were read."""
        bars, known, until = [OHLCV_SCHEMA.empty_table()], list[TimeRange](), self._stretch.start
        for partition, part in partitions_of(self._trades.series, self._stretch):
            of_day, known_of_day, until = await self._made_of_day(partition, part)
            bars += of_day
            known += known_of_day
            if self._is_enough(until):
                break
        until = self._grid.floor(until)
        read = [TimeRange(self._stretch.start, until)]
        whole = intersect_all(whole_bars(join(known), self._grid), read)
        # The last bar of an hour may go on in the next one.
        return await asyncio.to_thread(folded, pa.concat_tables(bars), self._grid), list(whole), until

    async def _made_of_day(
        self, partition: Partition, part: TimeRange
    ) -> tuple[list[pa.Table], list[TimeRange], datetime]:
        """Return what the *part* of a day makes, what is known of it, and where it ends: before, if that is enough."""
        for _ in range(_READS_MAX - 1):
            with suppress(PartitionChangedError):
                return await self._read_day(partition, part)
        return await self._read_day(partition, part)

    async def _read_day(
        self, partition: Partition, part: TimeRange
    ) -> tuple[list[pa.Table], list[TimeRange], datetime]:
        first = next(pieces_of(self._trades.series, part))
        stored = await self._storage.read(partition, first)
        known = list(self._trades.known(stored, part, State.HELD, State.UNLISTED, State.DELISTED))
        needed = list(intersect_all(self._trades.known(stored, part, State.HELD), self._told_in))
        pieces = [piece for piece in pieces_of(self._trades.series, part) if any(intersect_all([piece], needed))]

        def still_tells(piece: TimeRange, changed: StoredPartition) -> bool:
            return not any(subtract(intersect_all([piece], needed), self._trades.known(changed, piece, State.HELD)))

        make = rebuilt if self._trades.series.kind is Kind.TRADES else folded
        bars: list[pa.Table] = []
        async with aclosing(read_by_pieces(self._storage, stored, first, pieces, still_tells)) as readings:
            async for piece, read in readings:
                bars.append(await asyncio.to_thread(make, read.rows_in(piece), self._grid))
                if self._is_enough(piece.end):
                    return bars, known, piece.end
        return bars, known, part.end

    def _is_enough(self, until: datetime) -> bool:
        """Tell whether the time is up, and the trades *until* then make a bar at least.

        Raises:
            BarTooLongError: They make none, and that takes too long.
        """
        taken_secs = asyncio.get_running_loop().time() - self._begun_secs
        if self._grid.floor(until) > self._stretch.start:
            return taken_secs >= self._reading_secs
        if taken_secs >= self._bar_secs:
            raise BarTooLongError(str(self._grid), self._stretch.start, self._bar_secs)
        return False


def _partitions(series: Series, stretch: TimeRange | None) -> Iterator[tuple[Partition, TimeRange]]:
    return iter(()) if stretch is None else partitions_of(series, stretch)


def _length(ranges: Iterable[TimeRange]) -> timedelta:
    return sum((each.duration for each in ranges), timedelta())
