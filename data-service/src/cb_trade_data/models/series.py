"""What a client asks for and what storage keeps: one exchange's history of one symbol, kind and timeframe."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from cb_trade_data.models.timeframe import EVERY_MS, Timeframe

EXCHANGE_NAME: Final = re.compile(r"[a-z0-9_]{1,32}")
# What stands for whichever exchange can answer; none may bear that name.
ANY_EXCHANGE: Final = "any"
# Percent-encoded, a symbol is a part of a path, of which common file systems take 255 bytes.
SYMBOL_MAX_BYTES: Final = 64


class Kind(StrEnum):
    """What a row of a series is."""

    OHLCV = "ohlcv"
    TRADES = "trades"
    FUNDING_RATE = "funding_rate"
    ORDER_BOOK = "order_book"


def check_symbol(symbol: str) -> str:
    """Return *symbol* if it can be one.

    Raises:
        ValueError: It is empty, too long, or holds characters that cannot be seen.
    """
    if not symbol.isprintable() or not 1 <= len(symbol.encode()) <= SYMBOL_MAX_BYTES:
        raise ValueError(f"a symbol has 1 to {SYMBOL_MAX_BYTES} bytes of printable characters")
    return symbol


@dataclass(frozen=True)
class Series:
    """One exchange's history of one symbol (CCXT unified: `BTC/USDT`, `BTC/USDT:USDT`).

    Attributes:
        timeframe: The length of its bars; None exactly for the kinds without bars.
        derived_from: The length of the bars that we put its bars together from; None where they are the exchange's own.

    Raises:
        ValueError: A part is malformed. Whether the exchange *has* the symbol is not known here.
    """

    exchange: str
    symbol: str
    kind: Kind
    timeframe: Timeframe | None
    derived_from: Timeframe | None = None

    def __post_init__(self) -> None:
        if not EXCHANGE_NAME.fullmatch(self.exchange):
            raise ValueError(f"not an exchange id: {self.exchange[:40]!r}")
        check_symbol(self.symbol)
        if (self.kind is Kind.OHLCV) != (self.timeframe is not None):
            raise ValueError(f"{self.kind} and timeframe {self.timeframe} do not go together")
        if self.derived_from is not None and not (self.timeframe and self.timeframe.is_made_of(self.derived_from)):
            raise ValueError(f"bars of {self.timeframe} are not made of {self.derived_from}")

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _hash(self) -> int:  # Series are keys everywhere.
        return hash((self.exchange, self.symbol, self.kind, self.timeframe, self.derived_from))

    @cached_property
    def _text(self) -> str:
        text = " ".join(str(part) for part in (self.exchange, self.symbol, self.kind, self.timeframe) if part)
        return text if self.derived_from is None else f"{text} from {self.derived_from}"

    @cached_property
    def source(self) -> Series:
        """The exchange's own series of which it is made: itself, unless it is derived."""
        return self if self.derived_from is None else Series(self.exchange, self.symbol, self.kind, self.derived_from)

    @cached_property
    def is_perpetual(self) -> bool:
        """Whether its market is a perpetual: `BTC/USDT:USDT`, and not `BTC/USDT:USDT-241227`, which expires.

        See https://docs.ccxt.com/#/?id=symbols-and-market-ids.
        """
        _, _, settlement = self.symbol.partition(":")
        return settlement != "" and "-" not in settlement

    @cached_property
    def is_spot(self) -> bool:
        """Whether its market is one of things themselves, not of contracts about them."""
        return ":" not in self.symbol

    @property
    def grid(self) -> Timeframe:
        """The times that its rows can have: the open times of its bars; every millisecond for kinds without bars."""
        return EVERY_MS if self.timeframe is None else self.timeframe
