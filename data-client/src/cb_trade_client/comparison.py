"""Where the bars of an exchange differ from those that its trades make, as values."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from cb_trade_client.fields import (
    Message,
    read_count,
    read_instant,
    read_number,
    read_object,
    read_objects,
    read_optional_instant,
    read_text,
    read_texts,
)


@dataclass(frozen=True, slots=True)
class BarValues:
    """The values of one bar."""

    open: float
    high: float
    low: float
    close: float
    volume: float

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            open=read_number(message, "open"),
            high=read_number(message, "high"),
            low=read_number(message, "low"),
            close=read_number(message, "close"),
            volume=read_number(message, "volume"),
        )


@dataclass(frozen=True, slots=True)
class BarDifference:
    """One bar for which trades and exchange disagree.

    Attributes:
        timestamp: Its open time.
        columns: Those whose values differ; none where only one of the two has the bar.
        rebuilt: The bar that the trades make; None where there were none.
        told: The bar of the exchange; None where it has none.
    """

    timestamp: datetime
    columns: tuple[str, ...]
    rebuilt: BarValues | None
    told: BarValues | None

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            timestamp=read_instant(message, "timestamp"),
            columns=read_texts(message, "columns"),
            rebuilt=_optional_bar(message, "rebuilt"),
            told=_optional_bar(message, "told"),
        )


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """How the stored bars of a range compare with those that the stored trades make.

    Attributes:
        start: Inclusive, the open time of a bar; None where no bar has closed.
        end: Exclusive; at most the end of the newest closed bar.
        bars_compared: Bars that there are, by trades or exchange, where both are stored.
        bars_that_differ: How many of them differ.
        differences: Those, oldest first; of each page with more than 1,000 only the first.
        without_trades_ms: How long the bars last of which not all trades are stored; they were not compared.
        without_bars_ms: How long those last of which only the trades are stored; nor were they.
    """

    exchange: str
    symbol: str
    timeframe: str
    start: datetime | None
    end: datetime | None
    bars_compared: int
    bars_that_differ: int
    differences: tuple[BarDifference, ...]
    without_trades_ms: int
    without_bars_ms: int

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            exchange=read_text(message, "exchange"),
            symbol=read_text(message, "symbol"),
            timeframe=read_text(message, "timeframe"),
            start=read_optional_instant(message, "start_time"),
            end=read_optional_instant(message, "end_time"),
            bars_compared=read_count(message, "bars_compared"),
            bars_that_differ=read_count(message, "bars_that_differ"),
            differences=tuple(map(BarDifference.from_message, read_objects(message, "differences"))),
            without_trades_ms=read_count(message, "without_trades_ms"),
            without_bars_ms=read_count(message, "without_bars_ms"),
        )

    def followed_by(self, *pages: "ComparisonReport") -> "ComparisonReport":
        """Return this page and those after it as one report."""
        whole = [self, *pages]
        return replace(
            self,
            end=whole[-1].end,
            bars_compared=sum(page.bars_compared for page in whole),
            bars_that_differ=sum(page.bars_that_differ for page in whole),
            differences=tuple(difference for page in whole for difference in page.differences),
            without_trades_ms=sum(page.without_trades_ms for page in whole),
            without_bars_ms=sum(page.without_bars_ms for page in whole),
        )


def _optional_bar(message: Message, name: str) -> BarValues | None:
    return None if message.get(name) is None else BarValues.from_message(read_object(message, name))
