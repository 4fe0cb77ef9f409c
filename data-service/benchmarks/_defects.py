"""Defects put into good bars, and what then is there to be found; see `quality`, which says what counts as found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality.codes import DataCode

Columns = dict[str, npt.NDArray[Any]]
Random = np.random.Generator

PRICES: Final = ("open", "high", "low", "close")
COLUMNS: Final = ("timestamp", *PRICES, "volume")

_SHARE: Final = 0.001  # of rows
_SPREAD_BARS: Final = 25  # before and after: what a bar usually spans there
_SPIKE_SPREADS_MIN: Final = 8.0
_SPIKE_MIN: Final = 0.05
_SPIKE_MAX: Final = 0.5
_VOLUME_FACTORS: Final = (100.0, 10_000.0)
_RUN_BARS: Final = (3, 24)
_STRETCH_BARS: Final = (1, 24)
_EXPONENTS: Final = (-8, -6, -3, -2, -1, 1, 2, 3, 6, 8)


@dataclass
class Spoilt:
    """A series with defects in it.

    Attributes:
        columns: Of each row as it comes: time in milliseconds, prices, volume.
        asked_ms: Of each row, the time of the bar in whose page it comes.
        odd_ms: The bars that there is something to find with.
        finding_ms: Of each row that the gate is to find something with, the bar in whose page it comes.
    """

    columns: Columns
    asked_ms: npt.NDArray[np.int64]
    odd_ms: set[int] = field(default_factory=set)
    finding_ms: list[int] = field(default_factory=list)


def _spread(columns: Columns, row: int) -> float:
    around = slice(max(row - _SPREAD_BARS, 0), row + _SPREAD_BARS + 1)
    spreads = np.log(columns["high"][around] / columns["low"][around])
    return float(np.median(np.delete(spreads, row - max(row - _SPREAD_BARS, 0))))


def _log_uniform(random: Random, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _count(columns: Columns) -> int:
    return max(1, round(len(columns["timestamp"]) * _SHARE))


def _some(columns: Columns, random: Random) -> npt.NDArray[np.int64]:
    return np.sort(random.choice(len(columns["timestamp"]), _count(columns), replace=False))


def _stretches(columns: Columns, random: Random, bars: tuple[int, int]) -> list[slice]:
    """Return stretches, none of which touch, of as many rows together as there are to be, but for the last one."""
    taken = np.zeros(len(columns["timestamp"]), np.bool_)
    found: list[slice] = []
    while sum(each.stop - each.start for each in found) < _count(columns):
        length = int(random.integers(bars[0], bars[1], endpoint=True))
        start = int(random.integers(1, len(taken) - length - 1))
        if not taken[start - 1 : start + length + 1].any():
            taken[start : start + length] = True
            found.append(slice(start, start + length))
    return found


def _spikes(spoilt: Spoilt, random: Random, timeframe: Timeframe) -> None:  # noqa: ARG001
    columns = spoilt.columns
    for row in _some(columns, random).tolist():
        least = max(_SPIKE_SPREADS_MIN * _spread(columns, row), float(np.log1p(_SPIKE_MIN)))
        size = _log_uniform(random, least, max(least, float(np.log1p(_SPIKE_MAX))))
        factor = float(np.exp(size * random.choice([-1, 1])))
        shape = random.choice(["bar", "close", "wick"])
        if shape == "bar":
            for name in PRICES:
                columns[name][row] *= factor
        elif shape == "close":
            columns["close"][row] *= factor
        edge = "high" if factor > 1 else "low"
        extreme = np.maximum if factor > 1 else np.minimum
        body = extreme(columns["open"][row], columns["close"][row])
        if shape == "wick":
            columns[edge][row] = body * factor
        columns[edge][row] = extreme(columns[edge][row], body)
        spoilt.odd_ms.add(int(columns["timestamp"][row]))


def _volumes(spoilt: Spoilt, random: Random, timeframe: Timeframe) -> None:  # noqa: ARG001
    for row in _some(spoilt.columns, random).tolist():
        spoilt.columns["volume"][row] *= _log_uniform(random, *_VOLUME_FACTORS)
        spoilt.odd_ms.add(int(spoilt.columns["timestamp"][row]))


def _price_units(spoilt: Spoilt, random: Random, timeframe: Timeframe) -> None:  # noqa: ARG001
    for rows in _stretches(spoilt.columns, random, _STRETCH_BARS):
        factor = 10.0 ** int(random.choice(_EXPONENTS))
        for name in PRICES:
            spoilt.columns[name][rows] *= factor
        spoilt.odd_ms.update(spoilt.columns["timestamp"][rows].tolist())


def _stale(spoilt: Spoilt, random: Random, timeframe: Timeframe) -> None:  # noqa: ARG001
    columns = spoilt.columns
    for rows in _stretches(columns, random, _RUN_BARS):
        stands_still = bool(random.integers(2))
        for name in (*PRICES, "volume"):
            columns[name][rows] = columns["close" if stands_still and name in PRICES else name][rows.start - 1]
        if stands_still:
            columns["volume"][rows] = 0.0
        spoilt.odd_ms.update(columns["timestamp"][rows].tolist())


def _gaps(spoilt: Spoilt, random: Random, timeframe: Timeframe) -> None:  # noqa: ARG001
    keep = np.ones(len(spoilt.asked_ms), np.bool_)
    for rows in _stretches(spoilt.columns, random, _STRETCH_BARS):
        keep[rows] = False
    spoilt.odd_ms.update(spoilt.asked_ms[~keep].tolist())
    spoilt.columns = {name: column[keep] for name, column in spoilt.columns.items()}
    spoilt.asked_ms = spoilt.asked_ms[keep]


def _times_in_units(spoilt: Spoilt, random: Random, timeframe: Timeframe) -> None:  # noqa: ARG001
    for row in _some(spoilt.columns, random).tolist():
        spoilt.finding_ms.append(int(spoilt.asked_ms[row]))
        opens = spoilt.columns["timestamp"]
        opens[row] = opens[row] // 1000 if random.integers(2) else opens[row] * 1000


def _shifts(spoilt: Spoilt, random: Random, timeframe: Timeframe) -> None:
    for row in _some(spoilt.columns, random).tolist():
        spoilt.finding_ms.append(int(spoilt.asked_ms[row]))
        spoilt.columns["timestamp"][row] += int(random.integers(1, timeframe.duration_ms // 1000)) * 1000


def _repeats(spoilt: Spoilt, random: Random, *, differ: bool) -> None:
    rows = _some(spoilt.columns, random)
    places = np.sort(np.concatenate([np.arange(len(spoilt.asked_ms)), rows]))
    again = np.flatnonzero(np.diff(places) == 0) + 1
    spoilt.columns = {name: column[places] for name, column in spoilt.columns.items()}
    spoilt.asked_ms = spoilt.asked_ms[places]
    spoilt.finding_ms += spoilt.asked_ms[again].tolist() * (2 if differ else 1)
    if differ:  # as a bar does that was taken before it closed
        spoilt.columns["volume"][again] *= random.uniform(0.1, 0.9, len(again))


def _equal(spoilt: Spoilt, random: Random, timeframe: Timeframe) -> None:  # noqa: ARG001
    _repeats(spoilt, random, differ=False)


def _conflicting(spoilt: Spoilt, random: Random, timeframe: Timeframe) -> None:  # noqa: ARG001
    _repeats(spoilt, random, differ=True)


@dataclass(frozen=True)
class Defect:
    """A class of defects, and what they are to be found as: by the gate, or in what it let through."""

    about: str
    inject: Callable[[Spoilt, Random, Timeframe], None]
    codes: frozenset[DataCode]


def _defect(about: str, inject: Callable[[Spoilt, Random, Timeframe], None], *codes: DataCode) -> Defect:
    return Defect(about, inject, frozenset(codes))


DEFECTS: Final[Mapping[str, Defect]] = MappingProxyType(
    {
        "spikes": _defect("one bar, close or wick, 5–50 % off", _spikes, DataCode.PRICE_OUTLIER),
        "volume spikes": _defect("one bar, × 100–10,000", _volumes, DataCode.VOLUME_OUTLIER),
        "shifts": _defect("one bar, off the grid", _shifts, DataCode.OFF_GRID),
        "price units": _defect("1–24 bars, × 10ⁿ", _price_units, DataCode.OTHER_UNIT),
        "time units": _defect("one bar, in s or µs", _times_in_units, DataCode.BAD_TIMESTAMP),
        "duplicates, equal": _defect("one bar twice", _equal, DataCode.DUPLICATE),
        "duplicates, conflicting": _defect("one bar twice, other volume", _conflicting, DataCode.CONFLICT),
        "gaps": _defect("1–24 bars left out", _gaps, DataCode.GAP),
        "stale runs": _defect("3–24 bars repeated, or flat", _stale, DataCode.STALE_REPEAT, DataCode.FLAT_RUN),
    }
)
