"""What is true of a whole series rather than of one partition: its market id and when the exchange listed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final

import orjson

from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.partition import EVER
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.formats import CHECKSUM_KEY, FORMAT, FORMAT_KEY, reader_for
from cb_trade_data.storage.integrity import bytes_checksum

_RECHECK_AFTER: Final = timedelta(days=1)


@dataclass(frozen=True)
class SeriesFacts:
    """The facts object of a series; `unlisted` and `delisted` are derived from it, never written by the partition.

    Attributes:
        market_id: The exchange's own name for the symbol.
        listed_at: Open time of the first bar the exchange has; None while unknown, or where it has none at all.
        listing_checked_at: When the exchange was asked for its first bar; None if it never was.
        delisted_at: Exclusive end of the last bar of a market that is traded no more; None while more bars may come.
        delisting_checked_at: When the exchange was asked for the last bar; None if it never was.
        version: Names the stored object this was read from; None where there is none yet.
    """

    market_id: str
    listed_at: datetime | None = None
    listing_checked_at: datetime | None = None
    delisted_at: datetime | None = None
    delisting_checked_at: datetime | None = None
    version: str | None = None

    @cached_property
    def absences(self) -> tuple[Segment, ...]:
        """The time before the first bar and after the last one, as far as they are known: at most two, oldest first."""
        found = []
        if self.listed_at is not None and self.listed_at > EVER.start:
            found.append(Segment(TimeRange(EVER.start, self.listed_at), State.UNLISTED))
        if self.delisted_at is not None:
            found.append(Segment(TimeRange(self.delisted_at, EVER.end), State.DELISTED))
        return tuple(found)

    @property
    def absent(self) -> list[TimeRange]:
        """The ranges of `absences`."""
        return [each.range for each in self.absences]

    def listed_part(self, wanted: TimeRange) -> TimeRange | None:
        """Return *wanted* less what lies before listing or after delisting, or None where all of it does."""
        if self.lists(wanted):
            return wanted
        start = wanted.start if self.listed_at is None else max(wanted.start, self.listed_at)
        end = wanted.end if self.delisted_at is None else min(wanted.end, self.delisted_at)
        return TimeRange(start, end) if start < end else None

    def lists(self, wanted: TimeRange) -> bool:
        """Tell whether nothing of *wanted* lies before listing or after delisting."""
        return (self.listed_at is None or self.listed_at <= wanted.start) and (
            self.delisted_at is None or wanted.end <= self.delisted_at
        )

    def absence_at(self, instant: datetime) -> Segment | None:
        """Return the absence that holds *instant*, or None where there may be a bar."""
        for absence in self.absences:
            if instant in absence.range:
                return absence
        return None

    def listing_is_due(self, now: datetime) -> bool:
        """Tell whether the exchange may be asked for its first bar: never asked, or not for a day.

        A date that is a day ahead was written by a clock that was wrong.
        """
        return _is_due(self.listing_checked_at, now)

    def delisting_is_due(self, now: datetime) -> bool:
        """Tell the same of its last bar."""
        return _is_due(self.delisting_checked_at, now)

    def with_listing(self, listed_at: datetime | None, checked_at: datetime) -> SeriesFacts:
        """Return the facts after the exchange was asked for its first bar."""
        return replace(self, listed_at=listed_at, listing_checked_at=checked_at)

    def with_delisting(self, delisted_at: datetime | None, checked_at: datetime) -> SeriesFacts:
        """Return the facts after the exchange was asked for its last bar; None takes an earlier delisting back."""
        return replace(self, delisted_at=delisted_at, delisting_checked_at=checked_at)

    def merged(self, other: SeriesFacts | None) -> SeriesFacts:
        """Return these facts on top of *other*, which were found meanwhile.

        Of two looks at either end the later one counts; of two that are as late, the one that found something.
        """
        if other is None:
            return replace(self, version=None)
        listing = max(self, other, key=lambda each: (_date(each.listing_checked_at), each.listed_at is not None))
        end = max(self, other, key=lambda each: (_date(each.delisting_checked_at), each.delisted_at is not None))
        return replace(
            self,
            listed_at=listing.listed_at,
            listing_checked_at=listing.listing_checked_at,
            delisted_at=end.delisted_at,
            delisting_checked_at=end.delisting_checked_at,
            version=other.version,
        )

    def to_bytes(self) -> bytes:
        """Return the facts as the stored JSON object: times in epoch milliseconds, and a checksum over all the rest."""
        facts = {
            FORMAT_KEY: FORMAT,
            "market_id": self.market_id,
            **{name: None if (time := getattr(self, name)) is None else to_ms(time) for name in _TIMES},
        }
        return orjson.dumps(facts | {CHECKSUM_KEY: _checksum(facts)}, option=orjson.OPT_INDENT_2)

    @classmethod
    def from_bytes(cls, data: bytes, version: str, path: str) -> SeriesFacts:
        """Read back what `to_bytes` gave, in this release or an earlier one; *path* is for the error.

        Raises:
            NewerFormatError: The object is of a format that only later releases know.
            ValueError: It is not what was written.
        """
        facts = orjson.loads(data)
        if not isinstance(facts, dict):
            raise ValueError("not a facts object")  # noqa: TRY004 - to the reader, bytes of a wrong value
        found = facts.get(FORMAT_KEY)
        if found != FORMAT and facts.get(CHECKSUM_KEY) == _checksum(facts | {FORMAT_KEY: FORMAT}):
            raise ValueError(f"the checksum is that of format {FORMAT}, which calls itself {found!r}")
        return reader_for(found, _READERS, path)(facts, version)


def _date(checked_at: datetime | None) -> datetime:
    return checked_at or EVER.start


def _is_due(checked_at: datetime | None, now: datetime) -> bool:
    return checked_at is None or abs(now - checked_at) >= _RECHECK_AFTER


def _checksum(facts: dict[str, Any]) -> str:
    content = {name: value for name, value in facts.items() if name != CHECKSUM_KEY}
    return bytes_checksum(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))


def _read_format_1(facts: dict[str, Any], version: str) -> SeriesFacts:
    if facts.get(CHECKSUM_KEY) != _checksum(facts):
        raise ValueError("the checksum does not match the facts")
    try:
        told = {name: facts.get(name) if name in _LATER_TIMES else facts[name] for name in _TIMES}
        times = {name: None if time is None else from_ms(time) for name, time in told.items()}
        return SeriesFacts(str(facts["market_id"]), **times, version=version)
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not a facts object: {type(error).__name__}: {error}") from error


_TIMES: Final = ("listed_at", "listing_checked_at", "delisted_at", "delisting_checked_at")
# What objects that were written before it was looked up do not mention.
_LATER_TIMES: Final = frozenset({"delisting_checked_at"})
_READERS: Final[dict[int, Callable[[dict[str, Any], str], SeriesFacts]]] = {1: _read_format_1}

#: Of a series of which there are no facts yet.
NOTHING_KNOWN: Final = SeriesFacts("")
