"""Whose turn it is: the most urgent at the moment when there is a place, and nobody who has left."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from virtual_time import in_virtual_time, now_secs

from cb_trade_data.errors import ExchangeUnavailableError
from cb_trade_data.exchange_source import budget as budget_module
from cb_trade_data.exchange_source.budget import Budget
from cb_trade_data.exchange_source.facts import ExchangeFacts, Pace
from cb_trade_data.exchange_source.stopwatch import Stopwatch

FAST = Pace(1_000_000, timedelta(seconds=1), burst=1_000_000)
ONE_A_SECOND = Pace(1, timedelta(seconds=1))
SECOND = timedelta(seconds=1)


def budget(pace: Pace = FAST, places: int = 1, speed: float = 1.0) -> Budget:
    facts = ExchangeFacts("binance", ("1m",), 1000, pace=pace, concurrent_calls=places)
    return Budget(facts, Stopwatch(now_secs, speed))


class Queue:
    """Callers of a budget, each known by a name; `order` tells who got a place, and when."""

    def __init__(self, subject: Budget, lasts_secs: float = 0.0) -> None:
        self.subject = subject
        self.lasts_secs = lasts_secs
        self.order: list[str] = []
        self.times: list[float] = []

    async def call(self, name: str, urgency: int = 0, cost: float = 1) -> None:
        async with self.subject.place(lambda: urgency, cost):
            self.order.append(name)
            self.times.append(now_secs())
            await asyncio.sleep(self.lasts_secs)

    def start(self, name: str, urgency: int = 0, cost: float = 1) -> asyncio.Task[None]:
        return asyncio.create_task(self.call(name, urgency, cost))


async def settled() -> None:
    """Let every task run as far as it can without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


@in_virtual_time
async def test_a_free_place_is_given_at_once():
    queue = Queue(budget())

    await queue.call("only")

    assert queue.times == [0.0]
    assert (queue.subject.waiting, queue.subject.under_way) == (0, 0)


@in_virtual_time
async def test_no_more_places_are_given_than_there_are():
    queue = Queue(budget(places=3), lasts_secs=1)
    calls = [queue.start(str(number)) for number in range(7)]
    await settled()
    assert (queue.subject.waiting, queue.subject.under_way) == (4, 3)

    await asyncio.gather(*calls)

    assert queue.times == [0, 0, 0, 1, 1, 1, 2]


@in_virtual_time
async def test_the_most_urgent_goes_first_and_among_equals_who_came_first():
    queue = Queue(budget(), lasts_secs=1)
    calls = [queue.start(*each) for each in (("now", 9), ("b", 5), ("c", 5), ("a", 1), ("d", 7))]

    await asyncio.gather(*calls)

    assert queue.order == ["now", "a", "b", "c", "d"]


@in_virtual_time
async def test_urgency_counts_when_a_place_is_free_and_not_when_the_wait_began():
    subject, urgencies, order = budget(), {"a": 1, "b": 2}, []

    async def call(name: str) -> None:
        async with subject.place(lambda: urgencies[name]):
            order.append(name)

    async with subject.place(int):
        calls = [asyncio.create_task(call(name)) for name in urgencies]
        await settled()
        urgencies["b"] = 0
    await asyncio.gather(*calls)

    assert order == ["b", "a"]


@in_virtual_time
async def test_calls_begin_no_faster_than_the_pace():
    queue = Queue(budget(Pace(2, SECOND, burst=3), places=10))

    await asyncio.gather(*(queue.call(str(number)) for number in range(7)))

    assert queue.times == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5, 2.0], abs=0.01)


@in_virtual_time
async def test_who_waits_for_a_token_is_passed_by_who_is_more_urgent():
    queue = Queue(budget(ONE_A_SECOND, places=10))
    calls = [queue.start(name, 100) for name in ("first", "backfill", "more backfill")]
    await asyncio.sleep(0.5)
    calls.append(queue.start("a day", 1))

    await asyncio.gather(*calls)

    assert queue.order == ["first", "a day", "backfill", "more backfill"]


@in_virtual_time
async def test_what_costs_more_is_begun_with_the_first_token_and_paid_off_by_those_who_follow():
    queue = Queue(budget(ONE_A_SECOND, places=10))

    await asyncio.gather(queue.call("markets", cost=5), queue.call("page", 1), queue.call("page", 1))

    assert queue.times == pytest.approx([0, 5, 6], abs=0.01)


@in_virtual_time
async def test_who_makes_no_call_gives_back_what_it_cost():
    subject = budget(ONE_A_SECOND)
    for _ in range(50):
        async with subject.place(int) as place:
            place.is_unused = True

    assert now_secs() == 0


@in_virtual_time
async def test_a_waiter_that_is_cancelled_leaves_no_trace():
    queue = Queue(budget(ONE_A_SECOND), lasts_secs=0.1)
    calls = [queue.start(name) for name in "abcd"]
    await settled()

    calls[1].cancel()
    calls[2].cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    assert queue.order == ["a", "d"]
    assert queue.times == pytest.approx([0, 1], abs=0.01)
    assert (queue.subject.waiting, queue.subject.under_way) == (0, 0)


@in_virtual_time
async def test_a_turn_that_comes_as_its_waiter_is_cancelled_goes_to_the_next_one():
    queue = Queue(budget(Pace(1, timedelta(hours=1), burst=2)))
    async with queue.subject.place(int):
        calls = [queue.start(name) for name in "ab"]
        await settled()
    # The turn of a has come, and a has not run since.
    assert queue.subject.under_way == 1
    calls[0].cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    assert queue.order == ["b"]
    assert queue.times == [0.0], "nor did its token go with it"


@in_virtual_time
async def test_a_place_is_free_again_however_its_call_ends():
    subject = budget()
    with pytest.raises(ZeroDivisionError):
        async with subject.place(int):
            raise ZeroDivisionError

    async with subject.place(int):
        assert subject.under_way == 1
    assert subject.under_way == 0


@in_virtual_time
async def test_nothing_is_lost_whoever_leaves_and_whenever():
    chance = random.Random(7)
    subject = budget(Pace(50, SECOND, burst=3), places=4)
    begun, ended = 0, 0

    async def call() -> None:
        nonlocal begun, ended
        async with subject.place(lambda: chance.randrange(5)) as place:
            begun += 1
            assert subject.under_way <= 4
            place.is_unused = chance.random() < 0.2
            await asyncio.sleep(chance.random() / 10)
        ended += 1

    calls = []
    for _ in range(1_000):
        calls.append(asyncio.create_task(call()))
        if chance.random() < 0.3:
            chance.choice(calls).cancel()
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() / 25)
    await asyncio.gather(*calls, return_exceptions=True)

    assert ended == sum(not each.cancelled() for each in calls) > 700
    assert (subject.waiting, subject.under_way) == (0, 0)
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(subject.place(int))


@in_virtual_time
async def test_no_timer_runs_while_nobody_waits():
    loop = asyncio.get_running_loop()
    queue = Queue(budget(ONE_A_SECOND))
    await queue.call("a")
    waiting = queue.start("b")
    await settled()
    waiting.cancel()
    await settled()

    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []


@in_virtual_time
async def test_a_saturated_queue_gets_all_of_its_pace():
    queue = Queue(budget(Pace(2910, timedelta(minutes=1), burst=80), places=16), lasts_secs=0.1)

    await asyncio.gather(*(queue.call(str(number)) for number in range(2_000)))

    assert (2_000 - 80) / queue.times[-1] >= 0.99 * 2910 / 60


@in_virtual_time
async def test_a_stopwatch_that_runs_faster_makes_the_same_waits_shorter():
    queue = Queue(budget(ONE_A_SECOND, speed=100))

    await asyncio.gather(*(queue.call(str(number)) for number in range(5)))

    assert queue.times[-1] == pytest.approx(0.04, abs=0.005)


# --- An exchange that finds it too much ------------------------------------------------------------------------------


@in_virtual_time
async def test_after_a_limit_nobody_calls_until_the_time_it_named():
    queue = Queue(budget(places=3))
    async with queue.subject.place(int) as place:
        queue.subject.slow_down(place, timedelta(seconds=30))
    assert queue.subject.paused_secs == 30

    await asyncio.gather(queue.call("a"), queue.call("b"))

    assert queue.times == pytest.approx([30, 30], abs=0.01)
    assert queue.subject.rate == queue.subject.full_rate / 2


@in_virtual_time
async def test_a_pause_stops_those_who_wait_already():
    queue = Queue(budget(ONE_A_SECOND, places=3))
    async with queue.subject.place(int) as place:
        waiting = queue.start("a")
        await asyncio.sleep(0.5)
        queue.subject.slow_down(place, timedelta(seconds=30))
    await waiting

    assert queue.times == pytest.approx([30.5 + 1], abs=0.01)


@in_virtual_time
async def test_successes_raise_the_pace_again():
    subject = budget(Pace(10, SECOND), places=3)
    async with subject.place(int) as place:
        subject.slow_down(place, timedelta(seconds=1))
    while subject.rate < subject.full_rate:
        async with subject.place(int) as place:
            subject.recover(place)

    assert 30 < now_secs() < 120


@in_virtual_time
async def test_who_would_wait_for_a_long_pause_is_told_how_long_it_is():
    queue = Queue(budget(ONE_A_SECOND, places=3))
    async with queue.subject.place(int) as place:
        waiting = queue.start("a")
        await settled()
        queue.subject.slow_down(place, timedelta(seconds=300))
    await asyncio.sleep(100)

    for call, left in ((waiting, 300), (queue.call("b"), 200)):
        with pytest.raises(ExchangeUnavailableError) as caught:
            await call
        assert caught.value.retry_after == timedelta(seconds=left)
        assert str(left) in caught.value.reason

    await asyncio.sleep(90)
    await queue.call("c")
    assert queue.times[0] == pytest.approx(300 + 2, abs=0.01), "a token at half the pace comes after it"


@in_virtual_time
async def test_closing_sends_everybody_home():
    queue = Queue(budget())
    async with queue.subject.place(int):
        waiting = queue.start("a")
        await settled()
        queue.subject.close()
    for call in (waiting, queue.call("b")):
        with pytest.raises(ExchangeUnavailableError, match="stopping"):
            await call


def test_it_keeps_going_on_the_loop_that_the_service_runs_on(monkeypatch):
    """For the shortest of times its handles are not those of asyncio: they cannot tell when they are due."""
    uvloop = pytest.importorskip("uvloop")
    monkeypatch.setattr(budget_module, "_TIMER_MIN_SECS", 0.0)

    async def spend() -> int:
        pace = Pace(20_000, SECOND)
        subject = Budget(ExchangeFacts("binance", ("1m",), 1000, pace=pace, concurrent_calls=4), Stopwatch())
        queue = Queue(subject)
        await asyncio.gather(*(queue.call(str(number)) for number in range(50)))
        return subject.waiting + subject.under_way

    assert uvloop.run(spend()) == 0
