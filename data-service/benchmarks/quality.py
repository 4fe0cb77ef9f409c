"""How well defects in real bars are found, and what looking for them costs.

Defects of one class at a time are put into recorded series of at least a thousand bars, into a thousandth of their rows
(at least one row, at least one run), and the series then goes through gate and inspection as in the service: in pages
of a thousand bars, what is left of them by partitions. What counts:

- A defect that a row keeps is found if that row is flagged with the class's code; each row of a run counts by itself. A
  missing bar is found if it is told as a gap, a time that is held and has no row.
- A defect for which the gate drops the row is found if the page's count of the class's code says so.
- Any other row, or missing bar, or count of a page, that has the class's code is a false alarm, also where it has it
  without any defect: the recorded series are taken for flawless, but for the holes that they have, which are gaps.
- `elsewhere` are the rows flagged with another code than the class's that are not flagged so without the defect, other
  than the spoilt rows themselves. They are shown, and not counted against precision.

Spikes are of 8 or more of the local spreads (the median of high ÷ low of the 25 bars before and the 25 after it), for
that is far beyond what a bar does, of 5 % or more, for that is what somebody would notice in a chart, and up to 50 %;
sizes are drawn evenly by their logarithm. A whole bar, its close, or a wick spikes, up or down. Volumes are multiplied
by 100 to 10,000: that is what lots, contracts and quote currencies do. Thresholds were chosen with other seeds than
those reported; what they flag in the untouched series was known when they were chosen, for there is no other recorded
data.

Speed is that of one core, by the time that it really worked. So is the share in a cold fetch: of all that the service
works from its first page to the last of half a year of minutes, over HTTP from the simulated exchange to its file, and
on to a client. Who waits for it waits for the exchange, too: of that time it is less.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.feather as feather
from _defects import COLUMNS, DEFECTS, PRICES, Defect, Spoilt
from _market import minutes
from _processes import running
from _report import machine, parser, table, write
from _watched_service import ACCOUNT

from cb_trade_data.exchange_source.facts import Bounds, ExchangeFacts
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.historical.validation import check_page, settle
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import OHLCV_SCHEMA, TIMESTAMP, slice_range, timestamps_ms
from cb_trade_data.models.partition import partitions_of
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality.codes import DataCode
from cb_trade_data.quality.inspection import ODDITIES, Finding, inspect
from cb_trade_data.storage.coverage import State

_SEEDS: Final = range(1_000, 1_030)
_PAGE_ROWS: Final = 1_000
_MANY_ROWS: Final = 1_000_000
_ROUNDS: Final = 9
_GOAL: Final = 0.95
_SPEED_GOAL: Final = 20.0
_SHARE_GOAL: Final = 0.05
_COLD_RANGE: Final = ("--start", "2024-01-01", "--end", "2024-07-01")
# Oldest first and newest first, numbers as text and by name, pages of 1,000 and of 300.
_VENUES: Final = ("binance", "bybit", "okx", "coinbase")
_WATCHED: Final = Path(__file__).with_name("_watched_service.py")

_DATA: Final = Path(__file__).parents[3] / "shared" / "data"
_EXCHANGE: Final = ExchangeFacts("binance", ("1m",), _PAGE_ROWS, bounds=Bounds("startTime", "endTime"))
_LATER: Final = timedelta(days=30)


@dataclass(frozen=True)
class Recorded:
    """Bars that an exchange published, unique and in time order."""

    name: str
    timeframe: Timeframe
    rows: pa.Table

    @property
    def series(self) -> Series:
        return Series("binance", "BTC/USDT", Kind.OHLCV, self.timeframe)

    @property
    def range(self) -> TimeRange:
        times = timestamps_ms(self.rows)
        return TimeRange(from_ms(int(times[0])), self.timeframe.advance(from_ms(int(times[-1])), 1))


@dataclass
class Found:
    """What gate and inspection said.

    Attributes:
        odd_ms: By code, the times of the bars that were flagged, or are told as gaps.
        counts: By code and page, how many rows the gate found.
    """

    odd_ms: dict[DataCode, set[int]]
    counts: Counter[tuple[DataCode, int]]


def _recorded() -> list[Recorded]:
    """Return what there is of the recorded series."""
    found = []
    if (path := _DATA / "freqtrade_ADA_BTC-5m.feather").exists():
        rows = feather.read_table(path).rename_columns(OHLCV_SCHEMA.names)
        found.append(_unique("ADA/BTC 5m", "5m", rows))
    if (path := _DATA / "bybit_ETHUSDT_spot_1h.csv").exists():
        found.append(_unique("ETH/USDT 1h, Bybit", "1h", csv.read_csv(path)))
    if (path := _DATA / "binance_recorded_responses.json").exists():
        found += _klines(json.loads(path.read_text())["routes"])
    if (path := _DATA / "kraken_ohlc_response.json").exists():
        rows = json.loads(path.read_text())["result"]["XXBTZUSD"]
        columns = zip(*([row[0] * 1000, *map(float, row[1:5]), float(row[6])] for row in rows), strict=True)
        found.append(_unique("BTC/USD 1m, Kraken", "1m", _table(*columns)))
    return found


def _klines(routes: Any) -> list[Recorded]:
    """Return Binance's recorded series, of each the longest part that no long hole divides."""
    together: dict[tuple[str, str], dict[int, list[float]]] = {}
    for path in ("/api/v3/klines", "/fapi/v1/klines"):
        for answer in routes[path]["GET"]:
            query = parse_qs(answer["queryString"])
            name = f"{query['symbol'][0]} {query['interval'][0]}, Binance {path.split('/')[1]}"
            rows = together.setdefault((name, query["interval"][0]), {})
            rows.update({row[0]: [row[0], *map(float, row[1:6])] for row in answer["data"]})
    found = []
    for (name, timeframe), rows in together.items():
        whole = _unique(name, timeframe, _table(*zip(*rows.values(), strict=True)))
        breaks = np.flatnonzero(np.diff(timestamps_ms(whole.rows)) > 10 * whole.timeframe.duration_ms) + 1
        edges = [0, *breaks.tolist(), len(whole.rows)]
        start, end = max(pairwise(edges), key=lambda part: part[1] - part[0])
        if end - start >= 100:
            found.append(Recorded(name, whole.timeframe, whole.rows.slice(start, end - start)))
    return found


def _table(times: Any, *numbers: Any) -> pa.Table:
    columns = [pa.array(np.asarray(each, np.float64)) for each in numbers]
    return pa.table([pa.array(np.asarray(times, np.int64)).cast(TIMESTAMP), *columns], schema=OHLCV_SCHEMA)


def _unique(name: str, timeframe: str, rows: pa.Table) -> Recorded:
    rows = rows.select(OHLCV_SCHEMA.names).cast(OHLCV_SCHEMA)
    _, firsts = np.unique(timestamps_ms(rows), return_index=True)
    return Recorded(name, Timeframe.parse(timeframe), rows.take(pa.array(firsts)))


def _looked_at(recorded: Recorded, columns: dict[str, Any], asked_ms: npt.NDArray[np.int64]) -> Found:
    """Take a series through gate and inspection as the service does.

    Args:
        columns: Of each row as it comes.
        asked_ms: The bar in whose page each row comes, ascending.
    """
    timeframe, whole = recorded.timeframe, recorded.range
    found = Found({code: set() for code in DataCode}, Counter())
    good, start = [], whole.start
    while start < whole.end:
        window = TimeRange(start, min(timeframe.advance(start, _PAGE_ROWS), whole.end))
        first, end = np.searchsorted(asked_ms, [to_ms(window.start), to_ms(window.end)])
        rows = _table(*(columns[name][first:end] for name in COLUMNS))
        checked = check_page(Page(rows), window, timeframe, _EXCHANGE, whole.end + _LATER)
        change = settle(checked, [window], timeframe, whole.end + _LATER)
        for finding, count in checked.findings.items():
            found.counts[finding.code, to_ms(start)] += count
        held = [segment.range for segment in change.segments if segment.state is State.HELD]
        there = set(timestamps_ms(change.rows).tolist())
        for part in held:
            opens = range(to_ms(part.start), to_ms(part.end), timeframe.duration_ms)
            found.odd_ms[DataCode.GAP].update(set(opens) - there)
        good.append(change.rows)
        start = window.end
    rows = pa.concat_tables(good)
    for _, part in partitions_of(recorded.series, whole):
        inspected = slice_range(rows, part)
        for code, numbers in inspect(inspected, timeframe).flagged.items():
            found.odd_ms[code].update(timestamps_ms(inspected)[numbers].tolist())
    return found


def _columns(recorded: Recorded) -> dict[str, Any]:
    prices = {name: recorded.rows.column(name).to_numpy().copy() for name in (*PRICES, "volume")}
    return {"timestamp": timestamps_ms(recorded.rows).copy(), **prices}


@dataclass
class Tally:
    injected: int = 0
    hits: int = 0
    false_alarms: int = 0
    elsewhere: int = 0

    @property
    def recall(self) -> float:
        return self.hits / self.injected

    @property
    def precision(self) -> float:
        return self.hits / (self.hits + self.false_alarms) if self.hits else 0.0


def _tried(recorded: Recorded, untouched: Found, defect: Defect, seed: int, tally: Tally) -> None:
    columns = _columns(recorded)
    spoilt = Spoilt(columns, columns["timestamp"].copy())
    defect.inject(spoilt, np.random.default_rng(seed), recorded.timeframe)
    found = _looked_at(recorded, spoilt.columns, spoilt.asked_ms)
    said = set().union(*(found.odd_ms[code] for code in defect.codes))
    if DataCode.GAP in defect.codes:
        said -= untouched.odd_ms[DataCode.GAP]  # the series' own holes are holes
    page_ms = _PAGE_ROWS * recorded.timeframe.duration_ms
    start_ms = to_ms(recorded.range.start)
    injected = Counter(start_ms + (each - start_ms) // page_ms * page_ms for each in spoilt.finding_ms)
    counted = Counter({page: n for (code, page), n in found.counts.items() if code in defect.codes})
    tally.injected += len(spoilt.odd_ms) + injected.total()
    tally.hits += len(spoilt.odd_ms & said) + (injected & counted).total()
    tally.false_alarms += len(said - spoilt.odd_ms) + (counted - injected).total()
    spoilt_ms = spoilt.odd_ms | set(spoilt.finding_ms)
    for code in set(ODDITIES) - defect.codes:
        tally.elsewhere += len(found.odd_ms[code] - untouched.odd_ms[code] - spoilt_ms)


def _accuracy(series: list[Recorded], seeds: range) -> str:
    rows = []
    untouched = {each.name: _looked_at(each, _columns(each), timestamps_ms(each.rows)) for each in series}
    for name, defect in DEFECTS.items():
        tally = Tally()
        for each in series:
            for seed in seeds:
                _tried(each, untouched[each.name], defect, seed, tally)
        is_reached = min(tally.precision, tally.recall) >= _GOAL
        counts = [f"{count:,}" for count in (tally.injected, tally.hits, tally.false_alarms, tally.elsewhere)]
        shares = [f"{tally.precision:.3f}", f"{tally.recall:.3f}"]
        codes = " ".join(sorted(defect.codes))
        rows.append([name, defect.about, codes, *counts, *shares, "yes" if is_reached else "no"])
    head = ["defect", "what", "found as", "rows", "found", "false alarms", "elsewhere", "precision", "recall", "≥ 0.95"]
    return table(head, rows)


def _natural(series: list[Recorded]) -> str:
    """Return what is flagged in the untouched series."""
    rows = []
    for each in series:
        flagged = []
        for _, part in partitions_of(each.series, each.range):
            flagged += inspect(slice_range(each.rows, part), each.timeframe).findings()
        rows.append([each.name, f"{len(each.rows):,}", "; ".join(map(_told, flagged)) or "nothing"])
    return table(["untouched series", "rows", "flagged"], rows)


def _told(finding: Finding) -> str:
    columns = ", ".join(finding.columns)
    return f"{finding.code} {finding.time:%Y-%m-%d %H:%M} {columns} {finding.value:g}, usual {finding.usual:g}"


def _median_secs(work: Callable[[], object], rounds: int, clock: Callable[[], float] = time.process_time) -> float:
    samples = []
    for _ in range(rounds):
        begun = clock()
        work()
        samples.append(clock() - begun)
    return statistics.median(samples)


def _tiled(recorded: Recorded, count: int) -> pa.Table:
    """Return so many rows: the series again and again, each time where the last one ended."""
    times, repeats = timestamps_ms(recorded.rows), -(-count // len(recorded.rows))
    span_ms = to_ms(recorded.range.end) - to_ms(recorded.range.start)
    opens = np.concatenate([times + number * span_ms for number in range(repeats)])[:count]
    numbers = (np.tile(recorded.rows.column(name).to_numpy(), repeats)[:count] for name in COLUMNS[1:])
    return _table(opens, *numbers)


def _speed(series: list[Recorded]) -> str:
    contenders = {"simulated minutes": (Timeframe.parse("1m"), minutes(695).slice(0, _MANY_ROWS))}
    contenders |= {f"{each.name}, repeated": (each.timeframe, _tiled(each, _MANY_ROWS)) for each in series}
    rows = []
    for name, (timeframe, many) in contenders.items():
        start = from_ms(int(timestamps_ms(many)[0]))
        window = TimeRange(start, timeframe.advance(from_ms(int(timestamps_ms(many)[-1])), 1))
        page = Page(many)
        gate = _median_secs(lambda: check_page(page, window, timeframe, _EXCHANGE, window.end + _LATER), _ROUNDS)  # noqa: B023
        inspection = _median_secs(lambda: inspect(many, timeframe), _ROUNDS)  # noqa: B023
        speeds = [len(many) / secs / 1e6 for secs in (gate, inspection, gate + inspection)]
        rows.append([name, *(f"{speed:.1f}" for speed in speeds), "yes" if speeds[-1] >= _SPEED_GOAL else "**no**"])
    head = ["a million rows of", "gate, M rows/s", "inspection", "both", f"≥ {_SPEED_GOAL:g}"]
    return table(head, rows)


def _cold_fetch() -> str:
    """Fetch half a year of minutes that nobody has asked for: exchange, service and client are processes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CB_TRADE_")}
    kept["CB_TRADE_AUTH__SECRET"] = secrets.token_urlsafe(48)
    spent = {}
    for venue in _VENUES:
        with tempfile.TemporaryDirectory(prefix="cb-trade-bench-") as name:
            folder = Path(name)
            with running(["simulate", "--exchange", venue], kept, folder) as (_, exchange):
                environment = kept | {
                    "CB_TRADE_STORAGE__ROOT": str(folder / "data"),
                    f"CB_TRADE_EXCHANGES__{venue.upper()}__BASE_URL": f"{exchange}/h",
                    ACCOUNT: str(folder / "account"),
                }
                program = (Path(sys.executable), _WATCHED)
                with running(["serve"], environment, folder, program) as (_, service):
                    _fetch(venue, service, environment, folder)
            spent[venue] = json.loads((folder / "account").read_text())
    figures = []
    for venue, secs in spent.items():
        share = (secs["gate"] + secs["inspection"]) / secs["everything"]
        told = [f"{secs[what]:.3f}" for what in ("gate", "inspection", "everything")]
        figures.append([venue, *told, f"{share:.1%}", "yes" if share <= _SHARE_GOAL else "**no**"])
    head = ["a cold fetch from", "gate, s", "inspection", "all of the service's work", "share", "≤ 5 %"]
    return table(head, figures)


def _fetch(venue: str, service: str, environment: dict[str, str], folder: Path) -> None:
    program = Path(sys.executable).with_name("cb-trade")
    token = subprocess.run(  # noqa: S603 - our own program
        [program, "token", "create"], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()
    told = {
        "CB_TRADE_CLIENT__TOKEN": token,
        "CB_TRADE_CLIENT__URL": service.replace("http", "ws", 1) + "/ws/data",
    }
    subprocess.run(  # noqa: S603
        [program, "fetch", venue, "BTC/USDT", "1m", *_COLD_RANGE, "--quiet", "-o", folder / "rows.parquet"],
        env=environment | told,
        check=True,
    )


def main() -> None:
    asked = parser("quality", __doc__)
    asked.add_argument("--seeds", type=int, nargs=2, metavar=("FIRST", "END"), help="others than those reported")
    asked.add_argument("--only", choices=["accuracy", "speed"], help="one half")
    told = asked.parse_args()
    cold = "" if told.only == "accuracy" else _cold_fetch()  # before all else is bound to one core
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    recorded = _recorded()
    large = [each for each in recorded if len(each.rows) >= _PAGE_ROWS]
    seeds = range(*told.seeds) if told.seeds else _SEEDS
    parts = [machine("pyarrow", "numpy")]
    if not large:
        parts.append("The recorded series are not at hand: without them only speed is measured.")
    elif told.only != "speed":
        names = ", ".join(f"{each.name} ({len(each.rows):,} rows)" for each in large)
        parts += [f"{len(seeds)} seeds, pooled, over {names}.", _accuracy(large, seeds), _natural(recorded)]
    if told.only != "accuracy":
        parts += [_speed(large), cold]
    text = "\n\n".join(parts)
    print(text)
    if large and not (told.no_write or told.only or told.seeds):
        write("quality", text)


if __name__ == "__main__":
    main()
