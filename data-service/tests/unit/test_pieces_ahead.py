"""The hours of a day, of which the next one is read while one is sent."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from event_samples import DAY, TRADES, at_ms

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.historical.pieces import read_by_pieces
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.stored_partition import StoredPartition

HOUR_MS = 3_600_000
HOURS = [TimeRange(at_ms(number * HOUR_MS), at_ms((number + 1) * HOUR_MS)) for number in range(4)]
STORED = StoredPartition.empty(partition_at(TRADES, DAY))


def never_asked(piece, changed):
    raise AssertionError("it has not changed")


class Reads:
    """Storage that tells what was read of it, and answers when told to."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[TimeRange] = asyncio.Queue()
        self.may_answer = asyncio.Event()
        self.given_up = asyncio.Event()
        self.error: StorageUnavailableError | None = None

    async def read(self, partition, wanted):
        assert partition == STORED.partition
        self.begun.put_nowait(wanted)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.given_up.set()
            raise
        if self.error is not None:
            raise self.error
        return STORED


async def test_while_one_piece_is_used_the_next_one_is_read_and_no_other():
    storage = Reads()
    storage.may_answer.set()

    async with aclosing(read_by_pieces(storage, STORED, HOURS[0], HOURS, never_asked)) as pieces:
        for number, hour in enumerate(HOURS):
            assert await anext(pieces) == (hour, STORED)
            if hour != HOURS[-1]:
                assert await storage.begun.get() == HOURS[number + 1]
            assert storage.begun.empty()


async def test_the_piece_that_is_read_ahead_is_given_up_with_the_answer():
    storage = Reads()

    async with aclosing(read_by_pieces(storage, STORED, HOURS[0], HOURS, never_asked)) as pieces:
        await anext(pieces)
        await storage.begun.get()

    await storage.given_up.wait()


async def test_what_cannot_be_read_shows_when_it_is_its_turn():
    storage = Reads()
    storage.error = StorageUnavailableError("a day", "gone")
    storage.may_answer.set()

    async with aclosing(read_by_pieces(storage, STORED, HOURS[0], HOURS, never_asked)) as pieces:
        assert await anext(pieces) == (HOURS[0], STORED)
        with pytest.raises(StorageUnavailableError, match="gone"):
            await anext(pieces)
