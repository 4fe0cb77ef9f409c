"""A small chart of prices or rates for terminals, as text.

plotext keeps one figure for the whole process; only this file touches it, and every chart starts from a cleared one.
"""

from datetime import datetime, timedelta

import plotext
import pyarrow as pa

DEFAULT_WIDTH = 100
CHART_HEIGHT = 15
_NARROWEST = 40
_VALUE_TICKS = 5
_COLUMNS_PER_TIME_TICK = 18
# Braille characters are two dots wide: more points than that fall on the same dots.
_POINTS_PER_COLUMN = 2


def price_chart(
    table: pa.Table, title: str = "", *, column: str = "close", width: int = DEFAULT_WIDTH, colour: bool = False
) -> str:
    """Return a column of *table*, the closing prices for one, as a line chart, `CHART_HEIGHT` lines high.

    Args:
        table: Has the columns `timestamp` (UTC, ascending) and *column*; rows without a value are left out.
        title: Shown above the chart.
        width: In terminal columns; at least 40 are used.
        colour: Whether to add terminal colours.
    """
    width = max(width, _NARROWEST)
    times, values = _sample(table.select(["timestamp", column]), width * _POINTS_PER_COLUMN)
    if not values:
        return f"{title}: nothing to draw" if title else "nothing to draw"
    figure = plotext.figure
    figure.clear()
    try:
        # The caller knows its terminal; plotext would ask the one on stdout, which may be a file.
        plotext.terminal.limit(False, False)
        figure.plot_size(width, CHART_HEIGHT)
        figure.theme("simple")  # the default one paints a white canvas, also on a dark terminal
        figure.title(title)
        figure.ruler("x").ticks(*_time_ticks(times[0], times[-1], width))
        figure.ruler("y").ticks(*_value_ticks(min(values), max(values)))
        line = figure.signal([time.timestamp() for time in times], values, marker="braille")
        figure.draw(line.lines())
        lines = figure.build().string(colorless=not colour).splitlines()
    finally:
        figure.clear()
    return "\n".join(line.rstrip() for line in lines)


def _sample(table: pa.Table, most: int) -> tuple[list[datetime], list[float]]:
    """Return the times and values of at most *most* rows, evenly spread, the oldest and the newest one among them."""
    told = table.drop_null()
    if told.num_rows > most:
        newest = told.num_rows - 1
        told = told.take([newest * point // (most - 1) for point in range(most)])
    return told.column(0).to_pylist(), told.column(1).to_pylist()


def _value_ticks(lowest: float, highest: float) -> tuple[list[float], list[str]]:
    if lowest == highest:
        return [lowest], [f"{lowest:,.8g}"]
    step = (highest - lowest) / (_VALUE_TICKS - 1)
    ticks = [lowest + step * number for number in range(_VALUE_TICKS)]
    # As many decimals as it takes to tell neighbouring ticks apart, for bitcoin as for a fraction of a cent.
    decimals = next((digits for digits in range(12) if step >= 10.0**-digits), 12)
    return ticks, [f"{tick:,.{decimals}f}" for tick in ticks]


def _time_ticks(first: datetime, last: datetime, width: int) -> tuple[list[float], list[str]]:
    span = last - first
    if not span:
        return [first.timestamp()], [f"{first:%Y-%m-%d %H:%M}"]
    form = "%Y-%m-%d" if span >= timedelta(days=7) else "%m-%d %H:%M"
    count = max(2, width // _COLUMNS_PER_TIME_TICK)
    ticks = [first + span * number / (count - 1) for number in range(count)]
    return [tick.timestamp() for tick in ticks], [tick.strftime(form) for tick in ticks]
