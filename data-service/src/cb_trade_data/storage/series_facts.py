"""What is true of a whole series rather than of one partition: its market id and when the exchange listed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.partition import EVER
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.formats import FORMAT, FORMAT_KEY, reader_for

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
        """Tell whether the exchange may be asked for its first bar: never asked, or not for a day."""
        return self.listing_checked_at is None or now >= self.listing_checked_at + _LISTING_RECHECK_AFTER

    def with_listing(self, listed_at: datetime | None, checked_at: datetime) -> SeriesFacts:
        """Return the facts after the exchange was asked for its first bar."""
        return replace(self, listed_at=listed_at, listing_checked_at=checked_at)

    def is_newer_than(self, other: SeriesFacts) -> bool:
        """Tell whether the listing was looked up later than for *other*."""
        never = EVER.start
        return (self.listing_checked_at or never) > (other.listing_checked_at or never)

    def merged(self, other: SeriesFacts | None) -> SeriesFacts:
        """Return these facts on top of *other*, which was stored meanwhile: of two listings the later look counts."""
        if other is None:
            return replace(self, version=None)
        if other.is_newer_than(self):
            return other
        return replace(self, version=other.version)

    def to_bytes(self) -> bytes:
        """Return the facts as the stored JSON object: times in epoch milliseconds."""
        return orjson.dumps(
            {
                FORMAT_KEY: FORMAT,
                "market_id": self.market_id,
                "listed_at": None if self.listed_at is None else to_ms(self.listed_at),
                "listing_checked_at": None if self.listing_checked_at is None else to_ms(self.listing_checked_at),
            },
            option=orjson.OPT_INDENT_2,
        )

    @classmethod
    def from_bytes(cls, data: bytes, version: str, path: str) -> SeriesFacts:
        """Read back what `to_bytes` gave, in this release or an earlier one; *path* is for the error.

        Raises:
            NewerFormatError: The object is of a format that only later releases know.
            ValueError: It is not readable as facts.
        """
        facts = orjson.loads(data)
        if not isinstance(facts, dict):
            raise ValueError("not a facts object")  # noqa: TRY004 - to the reader, bytes of a wrong value
        return reader_for(facts.get(FORMAT_KEY), _READERS, path)(facts, version)


def _read_format_1(facts: dict[str, Any], version: str) -> SeriesFacts:
    try:
        listed_at, checked_at = facts["listed_at"], facts["listing_checked_at"]
        return SeriesFacts(
            str(facts["market_id"]),
            None if listed_at is None else from_ms(listed_at),
            None if checked_at is None else from_ms(checked_at),
            version,
        )
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not a facts object: {type(error).__name__}: {error}") from error


_READERS: Final[dict[int, Callable[[dict[str, Any], str], SeriesFacts]]] = {1: _read_format_1}
