"""What is true of a whole series rather than of one partition: its market id and when the exchange listed it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import orjson

from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.partition import EVER
from cb_trade_data.models.time_range import TimeRange

_LISTING_RECHECK_AFTER: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """The facts object of a series; `unlisted` coverage is derived from it, never written partition by partition.

    Attributes:
        market_id: The exchange's own name for the symbol.
        listed_at: Open time of the first bar the exchange has; None while unknown, or where it has none at all.
        listing_checked_at: When the exchange was asked for its first bar; None if it never was.
        version: Names the stored object this was read from; None where there is none yet.
    """

    market_id: str
    listed_at: datetime | None = None
    listing_checked_at: datetime | None = None
    version: str | None = None

    @property
    def unlisted(self) -> TimeRange | None:
        """The time before the first bar, where that is known."""
        if self.listed_at is None or self.listed_at <= EVER.start:
            return None
        return TimeRange(EVER.start, self.listed_at)

    def listed_part(self, wanted: TimeRange) -> TimeRange | None:
        """Return *wanted* less what lies before listing, or None where all of it does."""
        if self.listed_at is None or self.listed_at <= wanted.start:
            return wanted
        return TimeRange(self.listed_at, wanted.end) if self.listed_at < wanted.end else None

    def listing_is_due(self, now: datetime) -> bool:
        """Tell whether the exchange should be asked for its first bar: never asked, or had none a day ago."""
        if self.listed_at is not None:
            return False
        return self.listing_checked_at is None or now >= self.listing_checked_at + _LISTING_RECHECK_AFTER

    def has_no_bar(self, now: datetime) -> bool:
        """Tell whether the exchange said less than a day ago that it has no bar at all."""
        return self.listing_checked_at is not None and self.listed_at is None and not self.listing_is_due(now)

    def with_listing(self, listed_at: datetime | None, checked_at: datetime) -> SeriesFacts:
        """Return the facts after the exchange was asked for its first bar."""
        return replace(self, listed_at=listed_at, listing_checked_at=checked_at)

    def to_bytes(self) -> bytes:
        """Return the facts as the stored JSON object: times in epoch milliseconds."""
        return orjson.dumps(
            {
                "cb_trade.format": 1,
                "market_id": self.market_id,
                "listed_at": None if self.listed_at is None else to_ms(self.listed_at),
                "listing_checked_at": None if self.listing_checked_at is None else to_ms(self.listing_checked_at),
            },
            option=orjson.OPT_INDENT_2,
        )

    @classmethod
    def from_bytes(cls, data: bytes, version: str) -> SeriesFacts:
        """Read back what `to_bytes` gave.

        Raises:
            ValueError: The object is not readable as facts of format 1.
        """
        facts = orjson.loads(data)
        if not isinstance(facts, dict) or facts.get("cb_trade.format") != 1:
            raise ValueError("not a facts object of format 1")
        listed_at, checked_at = facts.get("listed_at"), facts.get("listing_checked_at")
        return cls(
            str(facts["market_id"]),
            None if listed_at is None else from_ms(listed_at),
            None if checked_at is None else from_ms(checked_at),
            version,
        )
