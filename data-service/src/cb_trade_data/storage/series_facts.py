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
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.formats import CHECKSUM_KEY, FORMAT, FORMAT_KEY, reader_for
from cb_trade_data.storage.integrity import bytes_checksum

_LISTING_RECHECK_AFTER: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """The facts object of a series; `unlisted` and `delisted` are derived from it, never written by the partition.

    Attributes:
        market_id: The exchange's own name for the symbol.
        listed_at: Open time of the first bar the exchange has; None while unknown, or where it has none at all.
        listing_checked_at: When the exchange was asked for its first bar; None if it never was.
        delisted_at: Exclusive end of the last bar the exchange will ever have; None while more may come.
        version: Names the stored object this was read from; None where there is none yet.
    """

    market_id: str
    listed_at: datetime | None = None
    listing_checked_at: datetime | None = None
    delisted_at: datetime | None = None
    version: str | None = None

    @property
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
        start = wanted.start if self.listed_at is None else max(wanted.start, self.listed_at)
        end = wanted.end if self.delisted_at is None else min(wanted.end, self.delisted_at)
        return TimeRange(start, end) if start < end else None

    def absence_at(self, instant: datetime) -> Segment | None:
        """Return the absence that holds *instant*, or None where there may be a bar."""
        return next((each for each in self.absences if each.range.start <= instant < each.range.end), None)

    def listing_is_due(self, now: datetime) -> bool:
        """Tell whether the exchange may be asked for its first bar: never asked, or not for a day.

        A date that is a day ahead was written by a clock that was wrong.
        """
        return self.listing_checked_at is None or abs(now - self.listing_checked_at) >= _LISTING_RECHECK_AFTER

    def with_listing(self, listed_at: datetime | None, checked_at: datetime) -> SeriesFacts:
        """Return the facts after the exchange was asked for its first bar."""
        return replace(self, listed_at=listed_at, listing_checked_at=checked_at)

    def is_newer_than(self, other: SeriesFacts) -> bool:
        """Tell whether the listing was checked later than for *other*, or as late and a delisting is news."""
        return (self._checked_at, self.delisted_at is not None) > (other._checked_at, other.delisted_at is not None)

    def merged(self, other: SeriesFacts | None) -> SeriesFacts:
        """Return these facts on top of *other*, which was stored meanwhile.

        Of two listings the later look counts; a delisting that either knows of is kept.
        """
        if other is None:
            return replace(self, version=None)
        later, earlier = (other, self) if other._checked_at > self._checked_at else (self, other)
        return replace(later, delisted_at=later.delisted_at or earlier.delisted_at, version=other.version)

    @property
    def _checked_at(self) -> datetime:
        return self.listing_checked_at or EVER.start

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


def _checksum(facts: dict[str, Any]) -> str:
    content = {name: value for name, value in facts.items() if name != CHECKSUM_KEY}
    return bytes_checksum(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))


def _read_format_1(facts: dict[str, Any], version: str) -> SeriesFacts:
    if facts.get(CHECKSUM_KEY) != _checksum(facts):
        raise ValueError("the checksum does not match the facts")
    try:
        times = {name: None if facts[name] is None else from_ms(facts[name]) for name in _TIMES}
        return SeriesFacts(str(facts["market_id"]), **times, version=version)
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not a facts object: {type(error).__name__}: {error}") from error


_TIMES: Final = ("listed_at", "listing_checked_at", "delisted_at")
_READERS: Final[dict[int, Callable[[dict[str, Any], str], SeriesFacts]]] = {1: _read_format_1}
