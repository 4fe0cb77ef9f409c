"""`cb-trade storage stats`: how much is stored."""

from __future__ import annotations

from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cb_trade_data.commands.opened_storage import run_with_storage
from cb_trade_data.commands.options import Json, parse_scope
from cb_trade_data.commands.terminal import (
    counted,
    duration_text,
    instant_text,
    print_json,
    print_table,
    size_text,
)

if TYPE_CHECKING:
    from cb_trade_data.storage.coverage import State
    from cb_trade_data.storage.housekeeping.scope import Scope
    from cb_trade_data.storage.housekeeping.statistics import SeriesStatistics
    from cb_trade_data.storage.object_storage import ObjectStorage


def stats(
    exchanges: Annotated[list[str] | None, typer.Argument(help="Only these exchanges.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Show what is stored of each series: how much, from when to when, and what is known to be missing."""
    scopes = [parse_scope(exchange) for exchange in dict.fromkeys(exchanges)] if exchanges else [parse_scope()]
    (found, damaged), name = run_with_storage(lambda opened: _statistics(opened, scopes))
    if as_json:
        print_json(
            {"storage": name, "series": [_statistics_to_json(one) for one in found], "objects_set_aside": damaged}
        )
    else:
        _print_statistics(found, damaged, name)


async def _statistics(opened: ObjectStorage, scopes: list[Scope]) -> tuple[list[SeriesStatistics], int]:
    from cb_trade_data.storage.housekeeping.statistics import statistics
    from cb_trade_data.storage.housekeeping.survey import set_aside

    found: list[SeriesStatistics] = []
    damaged = 0
    for scope in scopes:
        async with aclosing(statistics(opened, scope)) as all_series, aclosing(set_aside(opened, scope)) as objects:
            found += [one async for one in all_series]
            damaged += sum([1 async for _ in objects])
    return found, damaged


def _print_statistics(found: list[SeriesStatistics], damaged: int, name: str) -> None:
    from cb_trade_data.storage.coverage import State

    numbers = ("partitions", "rows", "size", "B/row", "empty", "failed")
    rows = [
        (
            str(one.series),
            f"{one.partitions:,}",
            f"{one.rows:,}",
            instant_text(one.first),
            instant_text(one.last),
            size_text(one.size_bytes),
            "" if one.bytes_per_row is None else f"{one.bytes_per_row:.1f}",
            _gap_text(one, State.EMPTY),
            _gap_text(one, State.FAILED),
        )
        for one in found
    ]
    print_table(("series", "partitions", "rows", "first", "last", "size", *numbers[3:]), rows, numbers=numbers)
    total_rows, total_bytes = sum(one.rows for one in found), sum(one.size_bytes for one in found)
    typer.echo(
        f"{name}: {len(found):,} series, {counted(sum(one.partitions for one in found), 'partition')}, "
        f"{counted(total_rows, 'row')}, {size_text(total_bytes)}"
    )
    if damaged:
        typer.echo(f"{counted(damaged, 'damaged object')} set aside in _damaged/")
    if unreadable := sum(one.unreadable_partitions for one in found):
        typer.echo(f"{counted(unreadable, 'partition')} cannot be read: cb-trade storage verify says why")


def _gap_text(one: SeriesStatistics, state: State) -> str:
    """Return how much is missing: in bars, and for kinds without bars in time."""
    if one.series.timeframe is None:
        return duration_text(one.gaps.get(state, timedelta()))
    return f"{one.gap_bars[state]:,}"


def _statistics_to_json(one: SeriesStatistics) -> dict[str, Any]:
    has_no_bars = one.series.timeframe is None
    return {
        "exchange": one.series.exchange,
        "symbol": one.series.symbol,
        "kind": str(one.series.kind),
        "timeframe": None if has_no_bars else str(one.series.timeframe),
        "partitions": one.partitions,
        "unreadable_partitions": one.unreadable_partitions,
        "rows": one.rows,
        "first": instant_text(one.first) or None,
        "last": instant_text(one.last) or None,
        "bytes": one.size_bytes,
        "bytes_per_row": one.bytes_per_row,
        "gap_bars": None if has_no_bars else {str(state): count for state, count in one.gap_bars.items()},
        "gap_secs": {str(state): length.total_seconds() for state, length in one.gaps.items()},
    }
