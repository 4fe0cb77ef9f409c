"""What the tests of storage store, and the shortest way to store it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from unit_builders import minute, minute_bars, minutes, series, utc

from cb_trade_data.models.market import upsert
from cb_trade_data.models.partition import partition_at
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.interfaces import IRawDataStorage
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import StoredPartition

MINUTES = series()
PARTITION = partition_at(MINUTES, minute(0))
EMPTY = StoredPartition.empty(PARTITION)
FACTS = SeriesFacts("BTCUSDT", utc("2017-08-17T04:00"), utc("2024-02-29"))

COVERAGE = Coverage(
    (
        Segment(minutes(0, 3), State.HELD),
        Segment(minutes(3, 5), State.EMPTY, minute(90), asks=2),
        Segment(minutes(5, 6), State.FAILED, minute(91), reason="HTTP 503: “overloaded” \\ \x00"),
    )
)

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "cut at the front": lambda data: data[7:],
    "overwritten": lambda data: data[: len(data) // 4] + bytes(len(data) // 4) + data[len(data) // 4 * 2 :],
    "garbage at the end": lambda data: data + b"garbage",
    "another one's": lambda data: b"{}",
}


def held(first: int, end: int) -> Segment:
    return Segment(minutes(first, end), State.HELD)


def known(numbers: Iterable[int], price: float = 100.0, base: StoredPartition = EMPTY) -> StoredPartition:
    """Return *base* with these minutes for rows, and the knowledge that it holds them."""
    numbers = list(numbers)
    coverage = Coverage().with_segments(held(number, number + 1) for number in numbers)
    return replace(base, rows=minute_bars(numbers, price), coverage=coverage)


def known_apart(numbers: range) -> StoredPartition:
    """Return these minutes, no two of which touch, for rows, each with a segment of its own."""
    segments = tuple(held(number, number + 1) for number in numbers)
    return replace(EMPTY, rows=minute_bars(numbers), coverage=Coverage(segments))


def restated(base: StoredPartition, numbers: Iterable[int], price: float = 700.0) -> StoredPartition:
    """Return *base* with other values for the rows of these minutes."""
    return replace(base, rows=upsert(base.rows, minute_bars(numbers, price)))


def known_stretch(numbers: range) -> StoredPartition:
    return replace(EMPTY, rows=minute_bars(numbers), coverage=Coverage((held(numbers.start, numbers.stop),)))


async def write(storage: IRawDataStorage, stored: StoredPartition) -> StoredPartition:
    """Write the partition, all of its rows as fresh ones."""
    return await storage.write_partition(stored, stored.rows)
