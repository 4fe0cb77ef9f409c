"""A chart of a backtest, drawn from a sketch whose size does not depend on the number of bars."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from backtest import Result, Steps
from bar_times import Milliseconds, bars_later
from cb_trade_client import CoverageSegment
from moving_averages import BUY, SELL, Prices

WIDTH_PIXELS = 1600
HEIGHT_PIXELS = 1200

_COLUMNS = 1200
_DOTS_PER_INCH = 100
_DAY_MS = 86_400_000
_LINES = ("close", "fast", "slow", "equity")

Spans = Sequence[tuple[int, int]]


class Sketch:
    """What a chart of one symbol needs of its bars: the last values in each of a fixed number of slices of time."""

    def __init__(self, start: datetime, end: datetime, timeframe: str) -> None:
        """Begin an empty sketch of the bars from *start* (inclusive) to *end* (exclusive)."""
        self.start_ms = _ms(start)
        self.end_ms = _ms(end)
        self._timeframe = timeframe
        self._told_until_ms = self.start_ms
        self._times_ms = np.full(_COLUMNS, -1, np.int64)
        self._lines = {name: np.full(_COLUMNS, np.nan) for name in _LINES}
        self._trades = {side: np.full((2, _COLUMNS), np.nan) for side in (BUY, SELL)}
        self._holes: list[tuple[int, int]] = []

    @property
    def column_ms(self) -> float:
        """How much time one slice takes."""
        return (self.end_ms - self.start_ms) / _COLUMNS

    def add(self, steps: Steps) -> None:
        """Take what happened in the next batch."""
        # Where several bars fall into one slice, the last one stays.
        columns = (steps.opens_ms - self.start_ms) * _COLUMNS // (self.end_ms - self.start_ms)
        self._times_ms[columns] = steps.opens_ms
        averages = steps.averages
        for line, values in zip(_LINES, (steps.closes, averages.fast, averages.slow, steps.equity), strict=True):
            self._lines[line][columns] = values
        for side, marks in self._trades.items():
            traded = steps.trades == side
            marks[:, columns[traded]] = steps.opens_ms[traded], steps.opens[traded]
        ends_ms = bars_later(steps.opens_ms, self._timeframe)
        befores_ms = np.concatenate([[self._told_until_ms], ends_ms])
        self._keep_holes(befores_ms[:-1], steps.opens_ms)
        self._told_until_ms = int(befores_ms[-1])

    def line(self, name: str) -> tuple[Prices, Prices]:
        """Return a line's points as (days since 1970, values), interrupted where there are no bars."""
        is_filled = self._times_ms >= 0
        breaks_ms = np.array([start for start, _ in self._holes], np.int64)
        times_ms = np.concatenate([self._times_ms[is_filled], breaks_ms])
        values = np.concatenate([self._lines[name][is_filled], np.full(len(breaks_ms), np.nan)])
        order = np.argsort(times_ms, kind="stable")
        return times_ms[order] / _DAY_MS, values[order]

    def trades(self, side: int) -> tuple[Prices, Prices]:
        """Return when (days since 1970) and at what price something was bought or sold; one trade in each slice."""
        times_ms, prices = self._trades[side]
        return times_ms / _DAY_MS, prices

    def holes(self) -> Spans:
        """Return the spans without bars, as far as they are wide enough to be seen; in milliseconds since 1970."""
        rest = (self._told_until_ms, self.end_ms)
        return [*self._holes, rest] if rest[1] - rest[0] >= self.column_ms else self._holes

    def _keep_holes(self, starts_ms: Milliseconds, ends_ms: Milliseconds) -> None:
        is_wide = (ends_ms > starts_ms) & (ends_ms - starts_ms >= self.column_ms)
        self._holes += zip(starts_ms[is_wide].tolist(), ends_ms[is_wide].tolist(), strict=True)


def draw(
    path: Path,
    title: str,
    averages: tuple[int, int],
    sketches: Mapping[str, Sketch],
    results: Mapping[str, Result],
    gaps: Mapping[str, Sequence[CoverageSegment]],
) -> None:
    """Write the chart to *path* as a PNG: for each symbol its prices and trades, and below them its account.

    Args:
        averages: How many bars the fast and the slow average are of, for the legend.
    """
    size_inches = (WIDTH_PIXELS / _DOTS_PER_INCH, HEIGHT_PIXELS / _DOTS_PER_INCH)
    # A figure of its own, without pyplot, needs neither a display nor to be closed.
    figure = Figure(figsize=size_inches, dpi=_DOTS_PER_INCH, layout="constrained")
    panels = figure.subplots(2 * len(sketches), 1, sharex=True, height_ratios=[2, 1] * len(sketches))
    for number, (symbol, sketch) in enumerate(sketches.items()):
        prices, account = panels[2 * number], panels[2 * number + 1]
        _draw_prices(prices, symbol, averages, sketch)
        _draw_account(account, sketch, results[symbol])
        for panel in (prices, account):
            _shade(panel, sketch, gaps[symbol])
            panel.grid(color="0.9")
            panel.set_axisbelow(True)
            panel.margins(x=0)
            panel.legend(loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0, frameon=False)
    bottom = panels[-1]
    locator = AutoDateLocator()
    bottom.xaxis.set_major_locator(locator)
    bottom.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    bottom.set_xlabel("time, UTC")
    bottom.set_xlim(
        min(sketch.start_ms for sketch in sketches.values()) / _DAY_MS,
        max(sketch.end_ms for sketch in sketches.values()) / _DAY_MS,
    )
    figure.suptitle(title, fontsize="x-large")
    figure.savefig(path, format="png")


def _draw_prices(panel: Axes, symbol: str, averages: tuple[int, int], sketch: Sketch) -> None:
    fast_bars, slow_bars = averages
    panel.plot(*sketch.line("close"), color="0.55", linewidth=0.8, label="close")
    panel.plot(*sketch.line("fast"), color="tab:blue", linewidth=1.2, label=f"mean of {fast_bars} bars")
    panel.plot(*sketch.line("slow"), color="tab:orange", linewidth=1.2, label=f"mean of {slow_bars} bars")
    marks: dict[str, Any] = {
        "linestyle": "none",
        "markersize": 8,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
        "zorder": 3,
    }
    panel.plot(*sketch.trades(BUY), marker="^", color="tab:green", label="bought", **marks)
    panel.plot(*sketch.trades(SELL), marker="v", color="tab:red", label="sold", **marks)
    panel.set_title(symbol, loc="left", fontweight="bold")
    panel.set_ylabel(f"price, {symbol.partition('/')[2].partition(':')[0]}")
    panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,.8g}"))


def _draw_account(panel: Axes, sketch: Sketch, result: Result) -> None:
    times, equity = sketch.line("equity")
    panel.axhline(0, color="0.6", linewidth=0.8)
    panel.plot(times, equity - 1, color="tab:purple", linewidth=1.2, label=f"account {result.total_return:+.1%}")
    times, closes = sketch.line("close")
    if result.bars:
        held = closes / closes[np.isfinite(closes)][-1] * (1 + result.buy_and_hold) - 1
        label = f"buy and hold {result.buy_and_hold:+.1%}"
        panel.plot(times, held, color="0.55", linewidth=0.8, linestyle="--", label=label)
    panel.set_ylabel("account, change")
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _shade(panel: Axes, sketch: Sketch, gaps: Sequence[CoverageSegment]) -> None:
    """Show where there are no bars: red where the service could not tell whether any exist, grey where none do."""
    unknown = [(_ms(gap.start), _ms(gap.end)) for gap in gaps]
    _shade_spans(panel, sketch, sketch.holes(), facecolor="0.85", linewidth=0, label="no bars exist")
    # Above the grey, which the holes of gaps have as well.
    red: dict[str, Any] = {"facecolor": "mistyrose", "edgecolor": "tab:red", "linewidth": 0.5, "hatch": "///"}
    _shade_spans(panel, sketch, unknown, **red, label="gap: not known")


def _shade_spans(panel: Axes, sketch: Sketch, spans: Spans, **look: Any) -> None:
    # However short, it can be seen.
    least_ms = 2 * sketch.column_ms
    bars = [(start_ms / _DAY_MS, max(end_ms - start_ms, least_ms) / _DAY_MS) for start_ms, end_ms in spans]
    if bars:
        panel.broken_barh(bars, (0, 1), transform=panel.get_xaxis_transform(), zorder=0.5, **look)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
