"""Backtests a moving-average crossover on two symbols while their history streams in.

Asks the data service for two series at once, tests the strategy on the batches as they arrive, prints what came of it
and draws a chart. Memory does not depend on the length of the range. `docs/how-to/write-a-consumer.md` tells how it is
made, and what it leaves out.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from backtest import Backtest, Result
from backtest_chart import Sketch, draw
from cb_trade_client import DataClient, HistoryCompleted
from command_line import HelpFormatter, add_service_options, positive, run, say, timeframe, token_of, utc_time
from time_order import in_time_order

MAX_GAPS_SHOWN = 10

DESCRIPTION = """\
Backtest a moving-average crossover on two symbols while their history streams in.

Buys at the open of the next bar when the fast average of the closing prices has risen above the slow one, and sells at
the open of the next bar when it no longer is. Bars that are missing are told, and shaded in the chart.
"""

EXAMPLE = """\
example:
  export CB_TRADE_CLIENT__TOKEN=$(cb-trade token create)
  python examples/backtest_consumer.py binance BTC/USDT ETH/USDT 1h --start 2024-01-01 --end 2024-04-01 \\
      --fast 20 --slow 100 --fee-percent 0.1 --output chart.png
"""


@dataclass(frozen=True)
class Wanted:
    """What to test: `start` inclusive, `end` exclusive, averages in bars, the fee of each trade as a share of it."""

    exchange: str
    symbols: tuple[str, ...]
    timeframe: str
    start: datetime
    end: datetime
    fast_bars: int
    slow_bars: int
    fee: float

    def __str__(self) -> str:
        return (
            f"{self.exchange} {self.timeframe}, means of {self.fast_bars} and {self.slow_bars} bars, "
            f"fee {self.fee * 100:g} %, {_brief(self.start)} to {_brief(self.end)} UTC"
        )


@dataclass(frozen=True)
class Outcome:
    """What came of one symbol, and what is known of its bars."""

    result: Result
    sketch: Sketch
    completed: HistoryCompleted


async def backtest(client: DataClient, wanted: Wanted) -> dict[str, Outcome]:
    """Stream all symbols side by side through one test each."""
    tests = {
        symbol: Backtest(wanted.fast_bars, wanted.slow_bars, wanted.timeframe, wanted.fee) for symbol in wanted.symbols
    }
    async with AsyncExitStack() as stack:
        streams = {
            symbol: await stack.enter_async_context(
                client.stream(
                    wanted.exchange, symbol, wanted.timeframe, wanted.start, wanted.end, on_gap="ignore"
                )  # told below, with all others
            )
            for symbol in wanted.symbols
        }
        # As the service clipped it: an end in the future is drawn up to the newest closed bar.
        sketches = {
            symbol: Sketch(stream.started.start, stream.started.end, wanted.timeframe)
            for symbol, stream in streams.items()
        }
        bars = stack.enter_context(progress_bars())
        tasks = {
            symbol: bars.add_task(symbol, total=stream.started.estimated_rows) for symbol, stream in streams.items()
        }
        async for symbol, batch in in_time_order(streams):
            sketches[symbol].add(tests[symbol].add(batch))
            bars.advance(tasks[symbol], batch.num_rows)
    return {
        symbol: Outcome(tests[symbol].result(), sketches[symbol], stream.completed)
        for symbol, stream in streams.items()
    }


def progress_bars() -> Progress:
    """Return bars on stderr, one for each symbol; none where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def table_of(title: str, outcomes: Mapping[str, Outcome]) -> Table:
    """Return the results for people."""
    table = Table(title=title, caption="trades: purchases + sales; gaps: spans that the service could not settle")
    for heading in ("symbol", "bars", "gaps", "trades", "return", "buy & hold", "max drawdown"):
        table.add_column(heading, justify="left" if heading == "symbol" else "right", no_wrap=True)
    for symbol, outcome in outcomes.items():
        result = outcome.result
        table.add_row(
            symbol,
            f"{result.bars:,}",
            f"{len(outcome.completed.gaps):,}",
            f"{result.buys:,} + {result.sells:,}",
            f"{result.total_return:+.2%}",
            f"{result.buy_and_hold:+.2%}",
            f"{result.max_drawdown:.2%}",
        )
    return table


def json_of(outcomes: Mapping[str, Outcome]) -> str:
    """Return the results for programs."""
    symbols = {
        symbol: asdict(outcome.result) | {"gaps": len(outcome.completed.gaps)} for symbol, outcome in outcomes.items()
    }
    return json.dumps(symbols, indent=2)


def say_gaps(symbol: str, completed: HistoryCompleted) -> None:
    """Tell what is missing, and why."""
    for gap in completed.gaps[:MAX_GAPS_SHOWN]:
        reason = f": {gap.reason}" if gap.reason else ""
        say(f"gap in {symbol}: {_brief(gap.start)} to {_brief(gap.end)} {gap.state}{reason}")
    if len(completed.gaps) > MAX_GAPS_SHOWN:
        say(f"… and {len(completed.gaps) - MAX_GAPS_SHOWN:,} more gaps in {symbol}")


async def main(wanted: Wanted, url: str, token: str, output: Path, *, as_json: bool) -> None:
    async with DataClient(url, token=token) as client:
        outcomes = await backtest(client, wanted)
    draw(
        output,
        f"Moving-average crossover: {wanted}",
        (wanted.fast_bars, wanted.slow_bars),
        {symbol: outcome.sketch for symbol, outcome in outcomes.items()},
        {symbol: outcome.result for symbol, outcome in outcomes.items()},
        {symbol: outcome.completed.gaps for symbol, outcome in outcomes.items()},
    )
    if as_json:
        print(json_of(outcomes))
    else:
        Console().print(table_of(str(wanted), outcomes))
    for symbol, outcome in outcomes.items():
        say_gaps(symbol, outcome.completed)
    say(f"chart: {output}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION, epilog=EXAMPLE, formatter_class=HelpFormatter)
    parser.add_argument("exchange", metavar="EXCHANGE", help="CCXT id of the exchange, such as binance")
    parser.add_argument(
        "symbols", metavar="SYMBOL", nargs=2, help="two CCXT unified symbols, such as BTC/USDT ETH/USDT"
    )
    parser.add_argument(
        "timeframe", metavar="TIMEFRAME", type=timeframe, help="length of a bar: 1m, 5m, 1h, 1d, 1w, 1M, …"
    )
    parser.add_argument(
        "--start", metavar="TIME", type=utc_time, required=True, help="inclusive; UTC if without a zone"
    )
    parser.add_argument("--end", metavar="TIME", type=utc_time, help="exclusive, written like --start (default: now)")
    parser.add_argument("--fast", metavar="BARS", type=positive, default=20, help="bars in the fast average")
    parser.add_argument(
        "--slow", metavar="BARS", type=positive, default=100, help="bars in the slow average, more of them"
    )
    parser.add_argument("--fee-percent", metavar="PERCENT", type=float, default=0.1, help="of each purchase and sale")
    parser.add_argument("--output", metavar="FILE", type=Path, default=Path("chart.png"), help="the chart, a .png file")
    parser.add_argument("--json", action="store_true", help="print JSON for programs instead of a table for people")
    add_service_options(parser)
    arguments = parser.parse_args()
    if arguments.fast >= arguments.slow:
        parser.error(f"--fast {arguments.fast} must be less than --slow {arguments.slow}")
    if not 0 <= arguments.fee_percent < 100:
        parser.error(f"--fee-percent {arguments.fee_percent:g} must be from 0 to less than 100")
    if arguments.symbols[0] == arguments.symbols[1]:
        parser.error("the two symbols must not be the same")
    if arguments.output.suffix.lower() != ".png" or not arguments.output.parent.is_dir():
        parser.error(f"--output {arguments.output} must end in .png and lie in a folder that exists")
    return arguments


def _brief(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}" if (moment.hour, moment.minute) == (0, 0) else f"{moment:%Y-%m-%dT%H:%MZ}"


if __name__ == "__main__":
    given = parse_arguments()
    asked = Wanted(
        given.exchange,
        tuple(given.symbols),
        given.timeframe,
        given.start,
        given.end or datetime.now(UTC),
        given.fast,
        given.slow,
        given.fee_percent / 100,
    )
    sys.exit(run(main(asked, given.url, token_of(given), given.output, as_json=given.json)))
