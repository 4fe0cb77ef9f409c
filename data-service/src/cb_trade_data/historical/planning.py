"""What is missing, and the fewest pages that would bring it. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange, subtract
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Coverage


@dataclass(frozen=True)
class HistoryPlan:
    """What a request would read and fetch: a value to log, to test and to send.

    Attributes:
        rows_in_storage: Rows of the range that are stored.
        missing: What would be asked for, oldest first.
        exchange_calls: Pages that would be fetched; at least so many for kinds without bars, of which nobody knows how
            many rows there are. Loading markets, reading the clock and looking for the listing date are counted apart.
    """

    rows_in_storage: int
    missing: tuple[TimeRange, ...]
    exchange_calls: int


def estimated_rows(series: Series, listed: TimeRange | None) -> int | None:
    """Return the bars that *listed* has room for, None standing for no time at all; None for kinds without bars."""
    if series.timeframe is None:
        return None
    return 0 if listed is None else series.grid.bars_in(listed)


def missing(
    wanted: TimeRange,
    coverage: Coverage,
    *,
    absent: Iterable[TimeRange] = (),
    now: datetime,
    failures_since: datetime,
    refresh: bool = False,
) -> Iterator[TimeRange]:
    """Yield the parts of *wanted* about which the exchange must be asked, oldest first.

    Args:
        wanted: A part of one partition, with edges on the grid.
        coverage: What is known of that partition.
        absent: Where there cannot be a bar: before the exchange's first one and after its last one.
        now: The present, for the re-check schedule of empty answers.
        failures_since: Failures before this instant are tried again, later ones count as answers.
        refresh: Ask again about everything, whatever is known.
    """
    settled = [] if refresh else list(coverage.settled(now, failures_since))
    return subtract([wanted], [*settled, *absent])


def pages(gaps: Iterable[TimeRange], grid: Timeframe, exchange: ExchangeFacts) -> Iterator[TimeRange]:
    """Yield the fewest windows, none with more bars than a page of *exchange*, that cover *gaps*, oldest first.

    Greedy is optimal here: a window must start at or before the first missing bar, and starting exactly there reaches
    furthest. A window ends with the last missing bar it reaches, so it may span bars that nobody misses but never
    begins or ends with one. Of an exchange that is not proven it spans none: whatever such an exchange answers with has
    then not been had before.

    Args:
        gaps: Disjoint ranges with edges on the grid, oldest first.
    """
    window: TimeRange | None = None
    limit = None
    for gap in gaps:
        cursor = gap.start
        if not exchange.is_proven:
            limit = None
        while cursor < gap.end:
            if window is None or limit is None or cursor >= limit:
                if window is not None:
                    yield window
                limit = grid.advance(cursor, exchange.page_limit_bars)
                window = TimeRange(cursor, min(gap.end, limit))
            else:
                window = TimeRange(window.start, min(gap.end, limit))
            cursor = window.end
    if window is not None:
        yield window
