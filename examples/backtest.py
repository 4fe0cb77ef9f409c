"""A moving-average crossover on past bars: the account, kept up to date batch by batch.

Long or out, all or nothing. A signal is known at a bar's close and acted upon at the next bar's open, never earlier;
each purchase and each sale costs the fee. After a hole in time everything is sold at the first open, and what was
signalled just before it is forgotten: nobody could have traded there, and nobody saw what happened.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bar_times import Milliseconds
from moving_averages import BUY, SELL, Averages, MovingAverages, Prices

_UNCHANGED, _OUT, _IN = -1, 0, 1


@dataclass(frozen=True, slots=True)
class Steps:
    """What happened in one batch of bars; all arrays are as long as it.

    Attributes:
        opens_ms: Open times, milliseconds since 1970 UTC.
        equity: What the account is worth at each close; it begins with 1.
        trades: BUY or SELL where that happened at the bar's open, else 0.
    """

    opens_ms: Milliseconds
    opens: Prices
    closes: Prices
    averages: Averages
    equity: Prices
    trades: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it; shares of the beginning, so 0.1 is ten percent.

    Attributes:
        total_return: Of the account. What is held at the end counts at the last close, not sold.
        buy_and_hold: Of buying at the first open, with the fee, and waiting.
        max_drawdown: The deepest fall of the account below its highest close so far (or what it began with).
    """

    bars: int
    buys: int
    sells: int
    total_return: float
    buy_and_hold: float
    max_drawdown: float


class Backtest:
    """Takes a series' bars in time order, in batches of any size; the result does not depend on how they are cut."""

    def __init__(self, fast_bars: int, slow_bars: int, timeframe: str, fee: float) -> None:
        """Begin with an account of 1 and nothing bought.

        Args:
            fee: The share of each purchase and of each sale that the exchange keeps: 0.001 is a tenth of a percent.
        """
        if not 0 <= fee < 1:
            raise ValueError(f"the fee is a share of what is traded, from 0 to less than 1, not {fee}")
        self._averages = MovingAverages(fast_bars, slow_bars, timeframe)
        self._kept = 1 - fee
        self._bars = self._buys = self._sells = 0
        self._first_open = np.nan
        self._last_close = np.nan
        self._last_signal = 0
        self._position = _OUT
        self._equity = self._peak = 1.0
        self._max_drawdown = 0.0

    def add(self, batch: pa.RecordBatch) -> Steps:
        """Take the next bars and return what was done and thought at each."""
        opens_ms = batch.column("timestamp").cast(pa.int64()).to_numpy()
        opens, closes = (batch.column(name).to_numpy() for name in ("open", "close"))
        averages = self._averages.add(opens_ms, closes)
        if not len(opens_ms):
            return Steps(opens_ms, opens, closes, averages, np.zeros(0), np.zeros(0, np.int8))

        signals = np.concatenate([[self._last_signal], averages.signals[:-1]])
        wanted = np.select([averages.after_hole, signals == BUY, signals == SELL], [_OUT, _IN, _OUT], _UNCHANGED)
        positions = _fill_forward(np.concatenate([[self._position], wanted]))
        trades = np.diff(positions).astype(np.int8)
        closes_before = np.concatenate([[self._last_close], closes[:-1]])
        growth = np.select(
            [trades == BUY, trades == SELL, positions[1:] == _IN],
            [self._kept * closes / opens, self._kept * opens / closes_before, closes / closes_before],
            1.0,
        )
        # One product after the other, from the account as it was: the same wherever a batch ends.
        equity = np.multiply.accumulate(np.concatenate([[self._equity], growth]))[1:]
        peaks = np.maximum.accumulate(np.concatenate([[self._peak], equity]))[1:]

        if not self._bars:
            self._first_open = float(opens[0])
        self._bars += len(opens)
        self._buys += int(np.count_nonzero(trades == BUY))
        self._sells += int(np.count_nonzero(trades == SELL))
        self._last_close = float(closes[-1])
        self._last_signal = int(averages.signals[-1])
        self._position = int(positions[-1])
        self._equity, self._peak = float(equity[-1]), float(peaks[-1])
        self._max_drawdown = max(self._max_drawdown, float(np.max(1 - equity / peaks)))
        return Steps(opens_ms, opens, closes, averages, equity, trades)

    def result(self) -> Result:
        """Return what came of the bars so far; without any, nothing was gained and nothing lost."""
        held = self._kept * self._last_close / self._first_open if self._bars else 1.0
        return Result(self._bars, self._buys, self._sells, self._equity - 1, held - 1, self._max_drawdown)


def _fill_forward(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return *positions* with each `_UNCHANGED` replaced by the last one that is not; the first one never is."""
    known = np.where(positions == _UNCHANGED, 0, np.arange(len(positions)))
    return positions[np.maximum.accumulate(known)]
