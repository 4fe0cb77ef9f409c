"""What came of a question, held against what is true."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cb_trade_conformance.trap import Caught
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.series import Kind, Series

if TYPE_CHECKING:
    import pyarrow as pa

    from cb_trade_data.historical.receipt import Receipt
    from cb_trade_data.models.time_range import TimeRange
    from cb_trade_data.storage.coverage import State
    from cb_trade_simulator import ExchangeSimulator

#: Time in epoch milliseconds, the id where there is one, and the values.
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Answer:
    """The rows that were delivered, the rows that there are, and what was said of the difference.

    Attributes:
        key_columns: By how many columns a row is known: its time, and the id of a trade.
    """

    rows: list[Row]
    truth: list[Row]
    receipt: Receipt
    key_columns: int = 1

    @property
    def states(self) -> list[str]:
        """What is known of the range, oldest first."""
        return [str(segment.state) for segment in self.receipt.coverage]

    def must_be_the_truth(self) -> None:
        """Raise `Caught` unless every row is there, as it is, once and in order, and nothing was said to be missing."""
        self.must_hide_nothing()  # and nothing may be told to be missing

    def must_hide_nothing(self, *allowed: State) -> None:
        """Raise `Caught` if a row was invented or altered, or is missing where that was not said.

        Args:
            allowed: What may have been said of the parts that are missing.
        """
        for gap in self.receipt.gaps:
            if gap.state not in allowed:
                raise Caught(f"{gap.range} is told to be {gap.state}: {gap.reason or 'nothing came'}")
        width = self.key_columns
        came, there = {row[:width]: row for row in self.rows}, {row[:width]: row for row in self.truth}
        _refuse("that the exchange does not have", came.keys() - there.keys())
        _refuse("with other values than the exchange has", [key for key in came if came[key] != there[key]])
        gaps = [(to_ms(gap.range.start), to_ms(gap.range.end)) for gap in self.receipt.gaps]
        hidden = [key for key in there.keys() - came.keys() if not any(a <= key[0] < b for a, b in gaps)]
        _refuse("not delivered and not told to be missing", hidden)
        if list(came) != [key for key in there if key in came] or len(came) != len(self.rows):
            raise Caught("rows came twice, or in another order than theirs")


def rows_of(table: pa.Table) -> list[Row]:
    """Return the rows of a table of any kind with bars, trades or funding."""
    columns = [column.to_pylist() for column in table.drop_columns("timestamp").columns]
    return list(zip(timestamps_ms(table).tolist(), *columns, strict=True))


def truth_of(
    simulator: ExchangeSimulator, series: Series, part: TimeRange, *, tells_mark_prices: bool = False
) -> list[Row]:
    """Return what the exchange has of *series* in *part*, in the form of `rows_of`.

    Args:
        tells_mark_prices: Whether it tells them with its funding rates; of one that does not, they are None.
    """
    match series.kind:
        case Kind.TRADES:
            return [
                (time, str(number), "sell" if buyer_is_maker else "buy", price, amount)
                for number, time, price, amount, buyer_is_maker in simulator.trades(
                    series.symbol, part.start, part.end
                )[["id", "timestamp", "price", "amount", "buyer_is_maker"]].tolist()
            ]
        case Kind.FUNDING_RATE:
            return [
                (time, rate, mark_price if tells_mark_prices else None)
                for time, rate, mark_price in simulator.funding(series.symbol, part.start, part.end).tolist()
            ]
    candles: list[Row] = simulator.candles(series.symbol, str(series.timeframe), part.start, part.end).tolist()
    return candles


def _refuse(fault: str, keys: Collection[Row]) -> None:
    if keys:
        first = min(keys)
        raise Caught(f"{len(keys)} row(s) {fault}, the first of {from_ms(first[0]).isoformat()}")
