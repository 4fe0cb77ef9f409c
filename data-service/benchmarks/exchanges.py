"""How fast history is backfilled beside what each exchange allows, and what failing calls and hurried requests cost.

Exchange, service and client are a process each. The exchange is the simulator, which turns away whoever asks more than
the real one allows; so the limit that a figure is compared with is enforced in the same run.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import aiohttp
import websockets
from _processes import running
from _report import machine, parser, table, write

from cb_trade_data.auth.module import create_token

_WARM_UP_SECS: Final = 4.0  # what an exchange grants at once, and the first partition, are over by then
_SECS: Final = 20.0
_SPANS: Final = 3  # the median of which is told
# Eight years, which the fastest of them take half a minute for.
_BEGINNING: Final = datetime(2018, 1, 1, tzinfo=UTC)
_START: Final = datetime(2019, 1, 1, tzinfo=UTC)
_END: Final = datetime(2024, 1, 1, tzinfo=UTC)
_PRESENT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_PATIENCE_SECS: Final = 30.0
_FAULTS: Final = ("429", "503", "reset", "truncated", "html", "cut-json")
_FAULTY_SHARE: Final = 0.2
_FAULTY_DAYS: Final = 42
_GOAL: Final = 0.95
_MORE_PAGES_MAX: Final = 3
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Venue:
    """An exchange, the pages a second that it allows, and why."""

    name: str
    pages_per_sec: float
    page_bars: int
    why: str


VENUES: Final = (
    Venue("binance", 50, 1000, "6,000 weight a minute, a page costs 2"),
    Venue("bybit", 120, 1000, "600 calls in 5 s"),
    Venue("coinbase", 10, 300, "10 calls a second"),
    Venue("coinbaseexchange", 10, 300, "10 calls a second"),
    Venue("cryptocom", 100, 300, "100 calls a second"),
    Venue("kraken", 1, 720, "1 call a second"),
    Venue("okx", 10, 300, "20 calls in 2 s"),
)
_KRAKEN_SYMBOLS: Final = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "ADA/BTC", "PEPE/USDT", "BTC/USD")
_KRAKEN_TIMEFRAMES: Final = ("1m", "5m", "15m", "30m", "1h", "4h")


# --- Processes ---


class Rig:
    """A simulated exchange, a service in front of it, and somebody who asks."""

    def __init__(self, venue: Venue, exchange_url: str, service_pid: int, service_url: str, token: str) -> None:
        self.venue = venue
        self._exchange_url = exchange_url
        self._pid = service_pid
        self._service_url = service_url.replace("http", "ws", 1) + "/ws/data"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._http = aiohttp.ClientSession()

    async def close(self) -> None:
        await self._http.close()

    async def steer(self, method: str, path: str, document: Any = None) -> Any:
        async with self._http.request(method, f"{self._exchange_url}{path}", json=document) as response:
            return await response.json() if response.status == 200 else None

    async def pages(self) -> int:
        """Return how many pages were asked for so far."""
        return (await self.steer("GET", "/_calls"))["by_endpoint"].get("klines", 0)

    async def asked_for(self, pages: int) -> None:
        """Return once so many pages were asked for."""
        while await self.pages() < pages:  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(0.02)

    async def next_page(self) -> tuple[int, float]:
        """Return how many pages were asked for once there is one more, and when that was."""
        pages = await self.pages()
        async with asyncio.timeout(_PATIENCE_SECS):
            while (now := await self.pages()) == pages:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0.005)
        return now, time.monotonic()

    async def refused(self) -> int:
        return sum((await self.steer("GET", "/_calls"))["refused"].values())

    def cpu_secs(self) -> float:
        """Return what the service has worked so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS

    @asynccontextmanager
    async def client(self) -> AsyncIterator[websockets.ClientConnection]:
        async with websockets.connect(
            self._service_url, additional_headers=self._headers, compression=None, max_size=None
        ) as connection:
            yield connection

    def question(self, start: datetime, end: datetime, **fields: Any) -> str:
        message = {
            "type": "request_historical",
            "exchange": self.venue.name,
            "symbol": "BTC/USDT",
            "timeframe": "1m",
            "start_time": int(start.timestamp() * 1000),
            "end_time": int(end.timestamp() * 1000),
            "format": "arrow",  # as the SDK asks
        }
        return json.dumps(message | fields)


@asynccontextmanager
async def _rig(venue: Venue, *options: str) -> AsyncIterator[Rig]:
    """Run exchange and service on free ports with an empty folder for storage."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CB_TRADE_")}
    secret = secrets.token_urlsafe(48)
    with tempfile.TemporaryDirectory(prefix="cb-trade-bench-") as name:
        folder = Path(name)
        with running(["simulate", "--exchange", venue.name, "--limits", *options], kept, folder) as (_, exchange):
            environment = kept | {
                "CB_TRADE_STORAGE__ROOT": str(folder / "data"),
                "CB_TRADE_AUTH__SECRET": secret,
                "CB_TRADE_LOG_LEVEL": "warning",
                f"CB_TRADE_EXCHANGES__{venue.name.upper()}__BASE_URL": f"{exchange}/h",
            }
            with running(["serve"], environment, folder) as (pid, service):
                token = create_token(
                    secret, subject="bench", scopes=["data:read"], lifetime=timedelta(hours=1), now=datetime.now(UTC)
                )
                rig = Rig(venue, exchange, pid, service, token)
                try:
                    yield rig
                finally:
                    await rig.close()


async def _read(connection: websockets.ClientConnection, seen: Callable[[str], None] = lambda _: None) -> Any:
    """Read up to an answer's last word, and return that; rows are not looked into."""
    while True:
        message = await connection.recv(decode=False)
        if not message.startswith(b"{"):
            continue
        kind = message[:60].split(b'"', 4)[3].decode()
        seen(kind)
        if kind not in ("historical_data_start", "historical_data_chunk"):
            return json.loads(message)


# --- What is measured ---


@dataclass(frozen=True)
class Backfill:
    """Pages a second, what of them were too many, and what a page cost the service."""

    venue: Venue
    pages_per_sec: float
    refused: int
    cpu_ms_per_page: float

    @property
    def ratio(self) -> float:
        return self.pages_per_sec / self.venue.pages_per_sec


async def _backfill(venue: Venue, secs: float) -> Backfill:
    async with _rig(venue) as rig, rig.client() as connection:
        if venue.name == "kraken":  # a page of each is all there is
            now = datetime.now(UTC)
            for symbol in _KRAKEN_SYMBOLS:
                for timeframe in _KRAKEN_TIMEFRAMES:
                    start = now - timedelta(hours=6) if timeframe.endswith("m") else now - timedelta(days=2)
                    message = rig.question(start, now - timedelta(hours=5), symbol=symbol, timeframe=timeframe)
                    await connection.send(message)
        else:
            await connection.send(rig.question(_BEGINNING, _PRESENT))
        reading = asyncio.create_task(_read_on(connection))
        await rig.asked_for(1)
        # The quieter of an exchange's allowances are counted in seconds: begin after what it grants at once.
        await asyncio.sleep(_WARM_UP_SECS if venue.pages_per_sec > 1 else 12)
        # From a page to a page: at one a second, a part of one more or less would be a twentieth.
        marks = [await rig.next_page()]
        cpu = rig.cpu_secs()
        for _ in range(_SPANS):
            await asyncio.sleep(secs / _SPANS)
            marks.append(await rig.next_page())
        cpu_ms = (rig.cpu_secs() - cpu) * 1000 / (marks[-1][0] - marks[0][0])
        refused = await rig.refused()
        reading.cancel()
    rates = [(last - first) / (ended - began) for (first, began), (last, ended) in pairwise(marks)]
    return Backfill(venue, statistics.median(rates), refused, cpu_ms)


async def _read_on(connection: websockets.ClientConnection) -> None:
    while True:
        await connection.recv(decode=False)


@dataclass(frozen=True)
class Faulty:
    """A backfill of which a fifth of all calls fails."""

    secs: float
    calls: int
    fewest: int
    met: int
    rows: int
    gaps: int


async def _with_faults(venue: Venue) -> Faulty:
    faults = [option for name in _FAULTS for option in ("--fault", f"{name}:{_FAULTY_SHARE / len(_FAULTS)}")]
    start = datetime(2023, 1, 1, tzinfo=UTC)
    # Two months, the first of them whole: a page never holds bars of both.
    first, second = 31 * 1440, (_FAULTY_DAYS - 31) * 1440
    fewest = -(-first // venue.page_bars) + -(-second // venue.page_bars)
    async with _rig(venue, *faults) as rig, rig.client() as connection:
        began = time.monotonic()
        await connection.send(rig.question(start, start + timedelta(days=_FAULTY_DAYS)))
        last = await _read(connection)
        secs = time.monotonic() - began
        met = (await rig.steer("GET", "/_faults"))["met"]
        return Faulty(secs, await rig.pages(), fewest, met, last["rows"], len(last["gaps"]))


@dataclass(frozen=True)
class Hurried:
    """A request for a day in the middle of a backfill: others' pages until its first chunk, and how long that took."""

    venue: Venue
    pages: int
    ms: float


async def _hurried(venue: Venue) -> Hurried:
    day = _START + timedelta(days=28)
    async with _rig(venue) as rig, rig.client() as patient, rig.client() as hasty:
        # What the exchange grants at once is used up first: in the middle of five years nothing of it is left.
        async with rig.client() as first:
            await first.send(rig.question(_START, _END, symbol="ETH/USDT"))
            reading = asyncio.create_task(_read_on(first))
            await rig.asked_for(1)
            await asyncio.sleep(_WARM_UP_SECS)
            reading.cancel()
        # Bars of five minutes: the day is one page, of a month that takes nine or more.
        await patient.send(rig.question(_START, _END, timeframe="5m"))
        reading = asyncio.create_task(_read_on(patient))
        await rig.asked_for(await rig.pages() + 3)
        before, began = await rig.pages(), time.monotonic()
        await hasty.send(rig.question(day, day + timedelta(days=1), timeframe="5m"))
        kinds: list[str] = []
        while "historical_data_chunk" not in kinds:
            kinds.append(json.loads(await hasty.recv())["type"])
        ms = (time.monotonic() - began) * 1000
        pages = await rig.pages() - before
        reading.cancel()
    return Hurried(venue, pages - 1, ms)


# --- The run ---


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _reached(*, yes: bool) -> str:
    return "yes" if yes else "**no**"


def _text(backfills: list[Backfill], faulty: Faulty, hurried: list[Hurried], secs: float) -> str:
    speeds = table(
        ["exchange", "it allows", "pages/s", "done", "ratio", "goal", "reached", "refused", "bars/s", "CPU ms a page"],
        [
            [
                each.venue.name,
                each.venue.why,
                f"{each.venue.pages_per_sec:g}",
                f"{each.pages_per_sec:.2f}",
                f"{each.ratio:.3f}",
                f"≥ {_GOAL}",
                _reached(yes=each.ratio >= _GOAL),
                each.refused,
                f"{each.pages_per_sec * each.venue.page_bars:,.0f}",
                f"{each.cpu_ms_per_page:.1f}",
            ]
            for each in backfills
        ],
    )
    bars = _FAULTY_DAYS * 1440
    faults = table(
        ["bars", "delivered", "gaps", "fewest calls", "failed on purpose", "calls", "seconds"],
        [[f"{bars:,}", f"{faulty.rows:,}", faulty.gaps, faulty.fewest, faulty.met, faulty.calls, f"{faulty.secs:.1f}"]],
    )
    hurries = table(
        ["exchange", "others' pages until its first chunk", "goal", "reached", "ms"],
        [
            [
                each.venue.name,
                each.pages,
                f"≤ {_MORE_PAGES_MAX}",
                _reached(yes=each.pages <= _MORE_PAGES_MAX),
                f"{each.ms:.0f}",
            ]
            for each in hurried
        ],
    )
    return (
        f"Each exchange for {secs:g} s, the median of {_SPANS} spans; its limits enforced in real seconds.\n"
        f"{machine('ccxt', 'aiohttp', 'pyarrow')}.\n\n"
        f"{speeds}\n\nBinance, a fifth of all calls failing ({', '.join(_FAULTS)}):\n\n{faults}\n\n"
        f"A day asked for in the middle of five years of 5-minute bars, of the month that is being filled:\n\n{hurries}"
    )


async def _run(names: list[str], secs: float) -> str:
    chosen = [venue for venue in VENUES if venue.name in names]
    backfills = []
    for venue in chosen:
        _say(f"backfilling from {venue.name}")
        backfills.append(await _backfill(venue, secs))
    binance = VENUES[0]
    _say("backfilling while a fifth of all calls fail")
    faulty = await _with_faults(binance)
    hurried = []
    for venue in (binance, next(each for each in VENUES if each.name == "okx")):
        _say(f"asking {venue.name} for a day in the middle of five years")
        hurried.append(await _hurried(venue))
    return _text(backfills, faulty, hurried, secs)


def main() -> None:
    options = parser("exchanges", __doc__)
    names = [venue.name for venue in VENUES]
    options.add_argument("--exchange", action="append", choices=names, help="only this one; may be repeated")
    options.add_argument("--secs", type=float, default=_SECS, help=f"for each exchange (default {_SECS:g})")
    arguments = options.parse_args()
    text = asyncio.run(_run(arguments.exchange or names, arguments.secs))
    print(text)
    if arguments.secs == _SECS and not arguments.exchange and not arguments.no_write:
        write("exchanges", text)


if __name__ == "__main__":
    main()
