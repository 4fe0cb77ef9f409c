"""`cb-trade coverage`: what is known of a series, and why the rest is missing."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from cb_trade_client.commands import outcome
from cb_trade_client.commands.options import (
    AsJson,
    Exchange,
    OptionalEnd,
    OptionalStart,
    Symbol,
    Timeframe,
    Token,
    Url,
    end_or_newest,
)
from cb_trade_client.instants import to_text
from cb_trade_client.kinds import kind_and_timeframe, series_name
from cb_trade_client.service_url import DEFAULT_URL
from cb_trade_client.terminal import say

if TYPE_CHECKING:
    from cb_trade_client.inventory import CoverageReport

MAX_SEGMENTS_SHOWN = 20


def coverage(
    exchange: Exchange,
    symbol: Symbol,
    timeframe: Timeframe,
    start: OptionalStart = None,
    end: OptionalEnd = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Show how complete a stored series is, and for each missing part why it is missing. Asks the exchange nothing.

    Without --start it begins where the service's knowledge begins; without --end either, it ends where that ends.

    Example: cb-trade coverage binance BTC/USDT 1h --start 2024-01-01 --end 2024-02-01
    """
    from cb_trade_client.client import DataClient

    async def work() -> None:
        kind, bars = kind_and_timeframe(timeframe)
        now = datetime.now(UTC)
        until = end_or_newest(start, end) if start is not None else end
        async with DataClient(url, token=token) as client:
            report = await client.coverage(exchange, symbol, bars, start, until, kind=kind)
        if as_json:
            outcome.show_json(report)
        else:
            _show(report, now)

    outcome.run(work())


def _show(report: "CoverageReport", now: datetime) -> None:
    from cb_trade_client.coverage_words import named, next_step
    from cb_trade_client.fetch_command import fetch_command

    name = series_name(report.exchange, report.symbol, report.kind, report.timeframe)
    if report.start is None or report.end is None:
        typer.echo(f"{name}: nothing is known")
        say(f"to fetch it: {fetch_command(*named(report), 'TIME')}")
        return
    _show_summary(report, f"{name}  {to_text(report.start)} … {to_text(report.end)}")
    _show_missing(report, now)
    if (command := next_step(report, now)) is not None:
        say(f"to fetch what is missing: {command}")


def _show_summary(report: "CoverageReport", title: str) -> None:
    from cb_trade_client.calendar_strip import LEGEND, calendar_strip
    from cb_trade_client.coverage_words import gap_lines, held_line
    from cb_trade_client.tables import StandardOutput

    out = StandardOutput()
    out.line(title, style="bold")
    if (held := held_line(report)) is not None:
        out.line(held)
    for line in gap_lines(report.segments):
        out.line(line)
    if lines := calendar_strip(report.segments):
        out.line()
        for line in (*lines, "", LEGEND):
            out.line(line)


def _show_missing(report: "CoverageReport", now: datetime) -> None:
    from cb_trade_client.coverage_words import rows_of
    from cb_trade_client.tables import Column, StandardOutput

    missing = [segment for segment in report.segments if segment.state != "held"]
    if not missing:
        return
    out = StandardOutput()
    out.line()
    amount = "LENGTH" if report.bars_expected is None else "BARS"
    headings = ("FROM", "TO", "STATE", amount, "ASKED", "ASKED AGAIN", "REASON")
    columns = [Column(each, is_number=each == amount, is_prose=each == "REASON") for each in headings]
    out.table(columns, rows_of(missing[:MAX_SEGMENTS_SHOWN], now))
    if len(missing) > MAX_SEGMENTS_SHOWN:
        say(f"… and {len(missing) - MAX_SEGMENTS_SHOWN:,} more; --json has them all")
