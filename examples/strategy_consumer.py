"""Tells a moving-average crossover's signals as bars close: asks for each new bar once, and for nothing else.

Waits until the exchange has closed a bar, asks the data service for what is new, and prints a line for each bar. It
outlives restarts of the service and ends politely when it is told to. `docs/how-to/write-a-consumer.md` tells how it is
made, and what it leaves out.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bar_times import bars_later
from cb_trade_client import DataClient, History
from command_line import HelpFormatter, add_service_options, positive, run, say, timeframe, token_of
from moving_averages import BUY, SELL, MovingAverages

# About ten minutes: as long as `wait_until` takes a service that is away to come back.
RETRIES = 60

DESCRIPTION = """\
Tell a moving-average crossover's signal for each bar as soon as the exchange has closed it.

The averages are warmed up from history. Then one line follows for each new bar, on stdout: buy, sell or none, or
warming_up while there are not enough bars since the last hole. Gaps are told between them. All else is on stderr.
Ctrl-C ends it.
"""

EXAMPLE = """\
example:
  export CB_TRADE_CLIENT__TOKEN=$(cb-trade token create)
  python examples/strategy_consumer.py binance BTC/USDT 1m --fast 20 --slow 100 --json
"""


@dataclass(frozen=True)
class Bar:
    """What a strategy makes of a closed bar: `bar` is when it opened; averages are None while they are unknown."""

    bar: str
    close: float
    fast: float | None
    slow: float | None
    signal: str

    def __str__(self) -> str:
        fast, slow = ("–" if value is None else f"{value:.8g}" for value in (self.fast, self.slow))
        return f"{self.bar}  close {self.close:.8g}  fast {fast}  slow {slow}  {self.signal}"


@dataclass(frozen=True)
class Gap:
    """A span, from `gap` (inclusive) to `end` (exclusive), in which there may be bars that did not come."""

    gap: str
    end: str
    state: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.gap}  gap until {self.end}, {self.state}{f': {self.reason}' if self.reason else ''}"


class Strategy:
    """One series, followed bar by bar."""

    def __init__(self, exchange: str, symbol: str, timeframe: str, fast_bars: int, slow_bars: int) -> None:
        self._series = (exchange, symbol, timeframe)
        self._timeframe = timeframe
        self._slow_bars = slow_bars
        self._averages = MovingAverages(fast_bars, slow_bars, timeframe)

    async def warm_up(self, client: DataClient) -> list[Bar | Gap]:
        """Read as many closed bars as the slow average needs, and return what is known of them."""
        self._closed_until = (await client.latest(*self._series)).closed_until
        self._until = self._bars_from(self._closed_until, -self._slow_bars)
        return await self._ask_until(client, self._closed_until)

    async def next_bars(self, client: DataClient) -> list[Bar | Gap]:
        """Return what is new once another bar has closed: mostly one bar, after a pause all that were missed.

        No bar comes twice. There is none where the exchange has none.
        """
        reach = await client.wait_until(*self._series, self._bars_from(self._closed_until, 1))
        news = await self._ask_until(client, reach.closed_until)
        self._closed_until = reach.closed_until
        return news

    async def _ask_until(self, client: DataClient, end: datetime) -> list[Bar | Gap]:
        history = await client.history(*self._series, self._until, end, on_gap="ignore")  # they are told with the bars
        # What the exchange failed to answer may still come: it is asked for again with the next bar, and what lies
        # behind it waits until then. Any other gap is passed, and the averages begin anew behind it.
        self._until = min((gap.start for gap in history.gaps if gap.state == "failed"), default=history.started.end)
        return sorted([*self._bars(history), *_gaps(history)], key=_begin)

    def _bars(self, history: History) -> Iterator[Bar]:
        table = history.to_arrow()
        table = table.filter(pc.less(table["timestamp"], pa.scalar(self._until, pa.timestamp("ms", tz="UTC"))))
        opens = table["timestamp"]
        closes = table["close"].to_numpy()
        averages = self._averages.add(opens.cast(pa.int64()).to_numpy(), closes)
        for row, open_time in enumerate(opens.to_pylist()):
            fast, slow = _known(averages.fast[row]), _known(averages.slow[row])
            word = "warming_up" if slow is None else {BUY: "buy", SELL: "sell"}.get(int(averages.signals[row]), "none")
            yield Bar(_text(open_time), float(closes[row]), fast, slow, word)

    def _bars_from(self, moment: datetime, bars: int) -> datetime:
        """Return the open time *bars* bars after *moment*, which is one itself."""
        moment_ms = np.array([round(moment.timestamp() * 1000)], np.int64)
        return datetime.fromtimestamp(int(bars_later(moment_ms, self._timeframe, bars)[0]) / 1000, UTC)


def _gaps(history: History) -> Iterator[Gap]:
    for gap in history.gaps:
        yield Gap(_text(gap.start), _text(gap.end), gap.state, gap.reason)


def _begin(news: Bar | Gap) -> str:
    return news.bar if isinstance(news, Bar) else news.gap


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


async def follow(given: argparse.Namespace) -> None:
    strategy = Strategy(given.exchange, given.symbol, given.timeframe, given.fast, given.slow)
    async with DataClient(given.url, token=token_of(given), retries=RETRIES) as client:
        # What is wrong at the beginning, such as the address, ends the program. Later on the SDK waits for the service.
        past = await strategy.warm_up(client)
        for gap in past:
            if isinstance(gap, Gap):
                say(str(gap))
        say(f"warmed up with {sum(isinstance(each, Bar) for each in past)} bars, waiting for the next one to close")
        told_bars = 0
        while True:
            for news in await strategy.next_bars(client):
                print(json.dumps(asdict(news)) if given.json else news, flush=True)
                told_bars += isinstance(news, Bar)
                if told_bars == given.bars:
                    return


async def main(given: argparse.Namespace) -> None:
    """Follow the series until enough bars have come, or somebody says that it is enough."""
    following = asyncio.create_task(follow(given))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, following.cancel)
    with suppress(asyncio.CancelledError):
        await following
    say("ended")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION, epilog=EXAMPLE, formatter_class=HelpFormatter)
    parser.add_argument("exchange", metavar="EXCHANGE", help="CCXT id of the exchange, such as binance")
    parser.add_argument("symbol", metavar="SYMBOL", help="CCXT unified symbol, such as BTC/USDT")
    parser.add_argument(
        "timeframe", metavar="TIMEFRAME", type=timeframe, help="length of a bar: 1m, 5m, 1h, 1d, 1w, 1M, …"
    )
    parser.add_argument("--fast", metavar="BARS", type=positive, default=20, help="bars in the fast average")
    parser.add_argument(
        "--slow", metavar="BARS", type=positive, default=100, help="bars in the slow average, more of them"
    )
    parser.add_argument("--bars", metavar="BARS", type=positive, help="end after so many new bars (default: never)")
    parser.add_argument("--json", action="store_true", help="print a JSON object in each line instead of words")
    add_service_options(parser)
    given = parser.parse_args()
    if given.fast >= given.slow:
        parser.error(f"--fast {given.fast} must be less than --slow {given.slow}")
    return given


if __name__ == "__main__":
    sys.exit(run(main(parse_arguments())))
