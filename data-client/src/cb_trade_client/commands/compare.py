"""`cb-trade compare`: whether the bars of an exchange are those that its trades make."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from cb_trade_client.commands import outcome
from cb_trade_client.commands.options import (
    AsJson,
    End,
    Exchange,
    Start,
    Symbol,
    TimeframeOfBars,
    Token,
    Url,
    end_or_newest,
)
from cb_trade_client.durations import duration_text
from cb_trade_client.fetch_command import fetch_command
from cb_trade_client.instants import to_text
from cb_trade_client.kinds import TRADES
from cb_trade_client.service_url import DEFAULT_URL
from cb_trade_client.terminal import say, status_line

if TYPE_CHECKING:
    from cb_trade_client.comparison import BarDifference, BarValues, ComparisonReport

MAX_DIFFERENCES_SHOWN = 20


def compare(
    exchange: Exchange,
    symbol: Symbol,
    timeframe: TimeframeOfBars,
    start: Start,
    end: End = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Compare the stored bars of an exchange with those that its stored trades make. Asks the exchange nothing.

    Exits with 1 if bars differ, with 0 if none does, also where nothing could be compared.

    Example: cb-trade compare binance BTC/USDT 1m --start 2024-01-01 --end 2024-01-02
    """
    from cb_trade_client.client import DataClient

    async def work() -> None:
        name = f"{exchange} {symbol} {timeframe}"
        pages: list[ComparisonReport] = []
        async with DataClient(url, token=token) as client:
            arriving = client.compare_pages(exchange, symbol, timeframe, start, end_or_newest(start, end))
            with status_line(f"{name}: comparing") as show:
                async for page in arriving:
                    pages.append(page)
                    if page.end is not None:
                        show(f"{name}: compared until {to_text(page.end)}")
        report = pages[0].followed_by(*pages[1:])
        with outcome.while_somebody_reads():
            if as_json:
                outcome.show_json(report)
            else:
                _show(report)
        if report.bars_that_differ:
            raise typer.Exit(1)

    outcome.run(work())


def _show(report: "ComparisonReport") -> None:
    from cb_trade_client.tables import Column, StandardOutput

    out = StandardOutput()
    if report.differences:
        headings = ("BAR", "DIFFERS", "BY TRADES", "BY THE EXCHANGE")
        columns = [Column(each, is_number=each.startswith("BY")) for each in headings]
        shown = report.differences[:MAX_DIFFERENCES_SHOWN]
        out.table(columns, [row for each in shown for row in _rows(each)])
        out.line()
    out.line(_summary(report))
    if report.bars_that_differ > MAX_DIFFERENCES_SHOWN:
        say(f"… and {report.bars_that_differ - MAX_DIFFERENCES_SHOWN:,} more bars that differ; --json tells of them")
    for words, lasting_ms in (("trades", report.without_trades_ms), ("bars", report.without_bars_ms)):
        if lasting_ms:
            say(f"not compared, for lack of {words}: {duration_text(timedelta(milliseconds=lasting_ms))}")
    if not report.bars_compared and (command := _next_step(report)) is not None:
        say(command)


def _rows(difference: "BarDifference") -> Iterator[list[str]]:
    """Yield a row of words for each value that differs; one for a bar that only one of the two has."""
    time = to_text(difference.timestamp)
    if difference.rebuilt is None or difference.told is None:
        yield [time, "bar", _brief(difference.rebuilt), _brief(difference.told)]
        return
    for column in difference.columns:
        yield [time, column, *(_number(getattr(bar, column)) for bar in (difference.rebuilt, difference.told))]


def _brief(bar: "BarValues | None") -> str:
    return "none" if bar is None else f"close {_number(bar.close)}, volume {_number(bar.volume)}"


def _number(value: float) -> str:
    """Return *value* without the last digit, in which sums of binary numbers differ from those of decimals."""
    return f"{value:.15g}"


def _summary(report: "ComparisonReport") -> str:
    name = f"{report.exchange} {report.symbol} {report.timeframe}"
    if report.start is None or report.end is None:
        return f"{name}: no bar has closed"
    span = f"{to_text(report.start)} … {to_text(report.end)}"
    if not report.bars_compared:
        return f"{name}  {span}: nothing could be compared"
    if not report.bars_that_differ:
        return f"{name}  {span}: {report.bars_compared:,} bars compared, none differs from what its trades make"
    differing = f"{report.bars_that_differ:,} of {report.bars_compared:,}"
    return f"{name}  {span}: {differing} bars differ from what their trades make"


def _next_step(report: "ComparisonReport") -> str | None:
    """Return what to fetch before there can be anything to compare; None where that would bring nothing."""
    if report.start is None or report.end is None:
        return None
    missing = TRADES if report.without_trades_ms else report.timeframe if report.without_bars_ms else None
    if missing is None:
        return None
    command = fetch_command(report.exchange, report.symbol, missing, to_text(report.start), to_text(report.end))
    return f"fetch the {'trades' if missing == TRADES else 'bars'} first: {command}"
