"""`cb-trade fetch`: history to stdout or into a file."""

import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cb_trade_client import kinds
from cb_trade_client.commands import outcome
from cb_trade_client.commands.options import (
    Derive,
    End,
    Exchanges,
    FillWith,
    Refresh,
    Start,
    Symbol,
    Timeframe,
    Token,
    Url,
    end_or_newest,
    exchanges_of,
)
from cb_trade_client.errors import CbTradeError
from cb_trade_client.instants import to_text
from cb_trade_client.kinds import kind_and_timeframe
from cb_trade_client.output import SUFFIXES, open_output
from cb_trade_client.requests import NO_FILL
from cb_trade_client.service_url import DEFAULT_URL
from cb_trade_client.terminal import say

if TYPE_CHECKING:
    import pyarrow as pa

    from cb_trade_client.answers import HistoryCompleted, HistoryStarted
    from cb_trade_client.stream import HistoryStream

MAX_GAPS_SHOWN = 10

# Of each kind, the column that says most in a line.
_CHARTED: Final = {kinds.OHLCV: "close", kinds.TRADES: "price", kinds.FUNDING_RATE: "rate"}


def _check_output(path: Path | None) -> Path | None:
    if path is None:
        return None
    if path.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"{path} must end in {' or '.join(SUFFIXES)}.")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"the folder {path.parent} does not exist.")
    return path


def fetch(
    exchange: Exchanges,
    symbol: Symbol,
    timeframe: Timeframe,
    start: Start,
    end: End = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            callback=_check_output,
            dir_okay=False,
            metavar="FILE",
            help="Write a .parquet or .csv file, whole or not at all, instead of CSV on stdout.",
            show_default=False,
        ),
    ] = None,
    chart: Annotated[bool, typer.Option("--chart", help="Draw the prices or rates on stderr at the end.")] = False,
    derive: Derive = False,
    fill: FillWith = NO_FILL,
    refresh: Refresh = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no summary; gaps are still told.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Fetch the bars of a series, or its trades or funding rates, and write them as CSV to stdout, or into a file.

    The service reads what it has stored and asks the exchange only for the rest. What is missing nevertheless is
    listed at the end, with the reason. Of several exchanges, or any, one is chosen, and all bars are of that one.

    Bars of a length that the exchange does not have are made of its shorter ones, of whole ones only.

    Example: cb-trade fetch binance BTC/USDT 1h --start 2024-01-01 --end 2024-02-01 -o january.parquet

    Example: cb-trade fetch binance BTC/USDT:USDT funding_rate --start 2024-01-01

    Example: cb-trade fetch coinbase BTC/USDT 4h --start 2024-01-01 --fill previous_close -o bars.parquet
    """
    from cb_trade_client.client import DataClient
    from cb_trade_client.progress_bar import progress_bar

    kind, bars = kind_and_timeframe(timeframe)
    if chart and kind not in _CHARTED:
        raise typer.BadParameter(f"there is no chart of {kind}.", param_hint="--chart")
    charted = _CHARTED[kind] if chart else None

    async def work() -> None:
        until = end_or_newest(start, end)
        label = f"{exchange} {symbol} {timeframe}"
        begun = perf_counter()
        # A bar and rows on the same terminal would overwrite each other.
        is_bar_visible = not quiet and (output is not None or not sys.stdout.isatty())
        async with DataClient(url, token=token) as client:
            with progress_bar(label, visible=is_bar_visible) as show:
                stream = client.stream(
                    exchanges_of(exchange),
                    symbol,
                    bars,
                    start,
                    until,
                    kind=kind,
                    refresh=refresh,
                    derive=derive,
                    fill=fill,
                    on_gap="ignore",
                    on_progress=show,
                )
                drawn = await _write(stream, output, charted)
        if charted is not None:
            _show_chart(drawn, stream.schema, charted, f"{stream.started.exchange} {symbol} {timeframe}")
        if not quiet:
            if exchange != stream.started.exchange:
                say(f"{stream.started.exchange} was chosen")
            _say_summary(stream.started, stream.completed, perf_counter() - begun, output)
        _say_gaps(stream.completed)

    outcome.run(work())


async def _write(stream: "HistoryStream", output: Path | None, charted: str | None) -> "list[pa.RecordBatch]":
    """Write all rows and return what a chart of the column *charted* needs of them; nothing where that is None."""
    drawn: list[pa.RecordBatch] = []
    try:
        with open_output(output, stream.schema) as writer:
            async with stream:
                async for batch in stream:
                    writer.write(batch)
                    if charted is not None:
                        drawn.append(batch.select(["timestamp", charted]))
            writer.finish(stream.completed.gaps)
    except CbTradeError as error:
        if error.resume_from and output is None:
            say(f"incomplete; go on with --start {to_text(error.resume_from)}", "warning")
        raise
    return drawn


def _show_chart(drawn: "list[pa.RecordBatch]", schema: "pa.Schema", charted: str, label: str) -> None:
    import pyarrow as pa
    from rich.console import Console

    from cb_trade_client.chart import price_chart

    console = Console(stderr=True)
    table = pa.Table.from_batches(drawn, pa.schema([schema.field("timestamp"), schema.field(charted)]))
    has_colours = console.is_terminal and not console.no_color
    chart = price_chart(table, f"{label}, {charted}", column=charted, width=console.width, colour=has_colours)
    typer.echo(chart, err=True)


def _say_summary(started: "HistoryStarted", completed: "HistoryCompleted", seconds: float, output: Path | None) -> None:
    synthetic = "" if completed.synthetic_rows is None else f", {completed.synthetic_rows:,} of them synthetic,"
    into = f" into {output}" if output else ""
    say(f"{completed.rows:,} rows{synthetic}{into} in {seconds:.2f} s: {_sources(started, completed)}")


def _sources(started: "HistoryStarted", completed: "HistoryCompleted") -> str:
    derived = "" if started.derived_from is None else f"derived from {started.derived_from}, "
    if completed.rows_from_storage is None:
        return f"{derived}after {completed.resumes:,} lost connections, so that nobody knows where they came from"
    return (
        f"{derived}{completed.rows_from_storage:,} from storage, "
        f"{completed.rows_from_exchange:,} from the exchange in {completed.exchange_calls:,} calls"
    )


def _say_gaps(completed: "HistoryCompleted") -> None:
    for gap in completed.gaps[:MAX_GAPS_SHOWN]:
        reason = f": {gap.reason}" if gap.reason else ""
        say(f"gap {to_text(gap.start)} … {to_text(gap.end)} {gap.state}{reason}", "warning")
    if len(completed.gaps) > MAX_GAPS_SHOWN:
        say(f"… and {len(completed.gaps) - MAX_GAPS_SHOWN:,} more gaps", "warning")
