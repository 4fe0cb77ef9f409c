from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from unit_builders import utc

from cb_trade_data.errors import ExchangeUnavailableError
from cb_trade_data.exchange_source.clock import ExchangeClock

SECOND = timedelta(seconds=1)
NOON = utc("2024-02-29T12:00")


class World:
    """A local clock that stands until it is moved, and an exchange whose clock runs ahead of it."""

    def __init__(self) -> None:
        self.local = NOON
        self.ahead = 10 * SECOND
        self.way_there = timedelta(0)
        self.way_back = timedelta(0)
        self.answer = "time"
        self.asked = 0
        self.hold: asyncio.Event | None = None

    def now(self) -> datetime:
        return self.local

    async def fetch_time(self) -> datetime | None:
        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        self.local += self.way_there
        told = self.local + self.ahead
        self.local += self.way_back
        if self.answer == "failure":
            raise ExchangeUnavailableError("binance", "timeout")
        return told if self.answer == "time" else None


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def clock(world) -> ExchangeClock:
    return ExchangeClock("binance", world.fetch_time, world.now)


async def test_nothing_is_asked_before_somebody_needs_the_time(world, clock):
    assert clock.known_now() is None
    assert world.asked == 0


async def test_the_present_is_the_exchanges(world, clock):
    assert await clock.now() == NOON + 10 * SECOND


async def test_an_exchange_behind_our_clock_is_believed_as_well(world, clock):
    world.ahead = -3600 * SECOND

    assert await clock.now() == NOON - 3600 * SECOND


async def test_the_present_goes_on_with_our_clock_without_asking_again(world, clock):
    await clock.now()
    world.local += timedelta(hours=5)

    assert await clock.now() == clock.known_now() == NOON + timedelta(hours=5) + 10 * SECOND
    assert world.asked == 1


@pytest.mark.parametrize(("there", "back"), [(0, 0), (2, 2), (0, 8), (8, 0)])
async def test_however_slow_the_way_we_are_never_ahead_of_the_exchange(world, clock, there, back):
    """A bar that closes by a clock that is ahead would be stored while it is still open."""
    world.way_there, world.way_back = there * SECOND, back * SECOND

    assert await clock.now() == world.local + world.ahead - back * SECOND


@pytest.mark.parametrize("answer", ["nothing", "failure"])
async def test_where_the_exchange_does_not_tell_our_own_time_counts(world, clock, answer):
    world.answer = answer

    assert await clock.now() == NOON
    assert clock.known_now() is None


@pytest.mark.parametrize("answer", ["nothing", "failure"])
async def test_an_exchange_that_did_not_tell_is_asked_again_after_a_minute(world, clock, answer):
    world.answer = answer
    await clock.now()
    world.local += timedelta(seconds=59, microseconds=999_999)
    await clock.now()
    assert world.asked == 1

    world.answer = "time"
    world.local += timedelta(microseconds=1)

    assert await clock.now() == world.local + 10 * SECOND
    assert world.asked == 2


async def test_the_clock_is_read_again_after_six_hours(world, clock):
    await clock.now()
    world.ahead = 20 * SECOND
    world.local = NOON + timedelta(hours=6) - timedelta(microseconds=1)
    assert await clock.now() == world.local + 10 * SECOND

    world.local = NOON + timedelta(hours=6)

    assert await clock.now() == world.local + 20 * SECOND
    assert world.asked == 2


async def test_what_was_read_once_is_known_for_ever_without_asking(world, clock):
    await clock.now()
    world.local += timedelta(days=30)

    assert clock.known_now() == world.local + 10 * SECOND
    assert world.asked == 1


@pytest.mark.parametrize("answer", ["nothing", "failure"])
async def test_a_clock_that_cannot_be_read_again_goes_on_as_last_read(world, clock, answer):
    await clock.now()
    world.answer = answer
    world.local += timedelta(hours=7)

    assert await clock.now() == world.local + 10 * SECOND
    assert world.asked == 2


async def test_all_who_need_the_time_at_once_have_it_read_once(world, clock):
    world.hold = asyncio.Event()
    callers = [asyncio.create_task(clock.now()) for _ in range(10)]
    await asyncio.sleep(0)
    world.hold.set()

    assert await asyncio.gather(*callers) == [NOON + 10 * SECOND] * 10
    assert world.asked == 1


async def test_a_first_caller_that_is_cancelled_changes_nothing_for_the_others(world, clock):
    world.hold = asyncio.Event()
    first = asyncio.create_task(clock.now())
    await asyncio.sleep(0)
    second = asyncio.create_task(clock.now())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    world.hold.set()

    assert await second == NOON + 10 * SECOND
    assert world.asked == 1
    assert first.cancelled()
