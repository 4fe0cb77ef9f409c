"""The backtest's rules once more, told as plainly as possible, one bar after the other over the whole table."""

from dataclasses import dataclass


@dataclass
class Reference:
    buys: int
    sells: int
    total_return: float
    buy_and_hold: float
    max_drawdown: float
    trades: list[tuple[int, int]]  # position of the bar, +1 bought or -1 sold at its open
    equity: list[float]


def reference(opens_ms, opens, closes, *, step_ms, fast_bars, slow_bars, fee):
    """Return what an account of 1 comes to."""
    cash, units, peak, drawdown = 1.0, 0.0, 1.0, 0.0
    buys = sells = 0
    trades, equity, unbroken = [], [], []
    was_above, order = None, 0
    for bar, (open_ms, opening, close) in enumerate(zip(opens_ms, opens, closes, strict=True)):
        if bar and open_ms != opens_ms[bar - 1] + step_ms:
            unbroken, was_above, order = [], None, -1
        if order == 1 and not units:
            units, cash, buys = cash * (1 - fee) / opening, 0.0, buys + 1
            trades.append((bar, 1))
        elif order == -1 and units:
            cash, units, sells = units * opening * (1 - fee), 0.0, sells + 1
            trades.append((bar, -1))
        unbroken.append(close)
        order = 0
        if len(unbroken) >= slow_bars:
            is_above = sum(unbroken[-fast_bars:]) / fast_bars > sum(unbroken[-slow_bars:]) / slow_bars
            if was_above is not None and is_above != was_above:
                order = 1 if is_above else -1
            was_above = is_above
        equity.append(cash + units * close)
        peak = max(peak, equity[-1])
        drawdown = max(drawdown, 1 - equity[-1] / peak)
    held = closes[-1] / opens[0] * (1 - fee)
    return Reference(buys, sells, equity[-1] - 1, held - 1, drawdown, trades, equity)
