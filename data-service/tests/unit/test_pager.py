"""Paging, whatever the exchange is like: the rows are its rows, and no absence is told that is none."""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from fake_exchange import Anchoring, FakeExchange, rows_at
from history_rig import SERIES, HistoryRig
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, minute, minute_numbers, minutes, quick

from cb_trade_data.storage.coverage import State

LIMIT = 7
#: Long after the bars, so that their holes are old.
LATER = minute(0) + timedelta(days=30)
WITH_HISTORY = [each for each in Anchoring if each is not Anchoring.NEWEST_ONLY]

#: Not hypothesis' own random: it ends a test where it is used, in the middle of a task of ours.
seeds = st.integers(0, 2**32).map(Random)
holes = st.sets(st.integers(0, 39))
edges = st.lists(st.integers(-10, 45), min_size=2, max_size=2, unique=True).map(sorted)


def told(receipt) -> dict[State, list[int]]:
    """Return which minutes are in which state, by the receipt."""
    states: dict[State, list[int]] = {}
    for segment in receipt.coverage:
        states.setdefault(segment.state, []).extend(minute_numbers([segment.range]))
    return states


def numbers_of(rows) -> list[int]:
    return [(time - minute(0)) // timedelta(minutes=1) for time in rows.column("timestamp").to_pylist()]


def spoiling(random: Random, defects: float, now: datetime):
    """Return what sends some bars of an answer twice, and rows that belong elsewhere, each now and then.

    The rows come in order, so that what is pushed out of a full answer is at its end: a later row in front of the
    others, in the place of one that is left out, is a lie that nobody can tell from the next bar after a quiet time.
    """

    def spoil(opens: list[datetime]) -> list[datetime]:
        sent = [open_time for open_time in opens for _ in range(1 + (random.random() < defects))]
        if random.random() < defects / 4:
            sent.insert(0, minute(-900))
        strays = (minute(900), now + timedelta(days=400), minute(2.5), minute(1000.5))
        return sent + [place for place in strays if random.random() < defects / 4]

    return spoil


def shuffling(random: Random, defects: float):
    """Return what mixes up the rows of an answer now and then."""
    return lambda opens: random.sample(opens, len(opens)) if random.random() < defects else opens


@quick(80)
@given(st.sampled_from(WITH_HISTORY), holes, edges, st.booleans())
async def test_an_honest_exchange_is_asked_no_more_than_there_are_pages_and_all_its_rows_come(
    anchoring, missing, wanted, jumps
):
    truth = [number for number in range(40) if number not in missing]
    with tempfile.TemporaryDirectory() as root:
        exchange = FakeExchange(
            map(minute, truth), LIMIT, anchoring, timeframes=("1m", "1h", "1d"), jumps_to_first=jumps, now=lambda: LATER
        )
        rig = HistoryRig(Path(root), LATER).connect(exchange)
        asked = minutes(*wanted)
        expected = [number for number in truth if wanted[0] <= number < wanted[1]]

        plan = await rig.manager.plan(SERIES, asked, refresh=False)
        rows, receipt = await rig.answer(asked)
        calls = len(exchange.windows)
        again, _ = await rig.answer(asked)

        assert_same_rows(rows, rows_at(map(minute, expected)))
        assert_same_rows(again, rows)
        assert State.FAILED not in told(receipt)
        assert receipt.exchange_calls <= plan.exchange_calls
        assert len(exchange.windows) == calls


@quick(80)
@given(st.sampled_from(WITH_HISTORY), holes, edges, seeds, st.floats(0, 1), st.booleans())
async def test_no_absence_is_invented_whatever_comes_twice_or_does_not_belong(
    anchoring, missing, wanted, random, defects, is_young
):
    now = minute(50) if is_young else LATER
    truth = [number for number in range(40) if number not in missing]
    with tempfile.TemporaryDirectory() as root:
        rig = HistoryRig(Path(root), now)
        exchange = FakeExchange(map(minute, truth), LIMIT, anchoring, now=rig.present)
        exchange.spoil, exchange.shuffle = spoiling(random, defects, now), shuffling(random, defects)
        rig.connect(exchange)
        asked = minutes(*wanted)
        expected = [number for number in truth if wanted[0] <= number < wanted[1]]

        rows, receipt = await rig.answer(asked)
        calls = receipt.exchange_calls
        exchange.spoil = exchange.shuffle = list
        rig.now += timedelta(seconds=1)
        repaired, _ = await rig.answer(asked)

        came, states = numbers_of(rows), told(receipt)
        assert came == sorted(set(came))
        assert set(came) <= set(expected)
        assert set(expected) - set(came) <= set(states.get(State.FAILED, []))
        assert_same_rows(repaired, rows_at(map(minute, expected)))
        # Each answer settles a bar, or is one of the five that leave the same bar open.
        assert calls <= 6 * (wanted[1] - wanted[0])


# --- Nothing known of it ----------------------------------------------------------------------------------------------


@quick(80)
@given(
    st.sampled_from(WITH_HISTORY),
    holes,
    edges,
    st.integers(1, LIMIT),
    seeds,
    st.sampled_from([0.0, 0.3]),
    st.booleans(),
)
async def test_an_exchange_that_sends_less_than_it_says_costs_more_calls_and_no_bar(
    anchoring, missing, wanted, sends_at_most, random, doubles, is_young
):
    now = minute(50) if is_young else LATER
    truth = [number for number in range(40) if number not in missing]
    with tempfile.TemporaryDirectory() as root:
        rig = HistoryRig(Path(root), now)
        exchange = FakeExchange(map(minute, truth), LIMIT, anchoring, is_proven=False, now=rig.present)
        exchange.sends_at_most = sends_at_most
        exchange.spoil = lambda opens: [each for each in opens for _ in range(1 + (random.random() < doubles))]
        rig.connect(exchange)
        asked = minutes(*wanted)
        expected = [number for number in truth if wanted[0] <= number < wanted[1]]

        rows, receipt = await rig.answer(asked)

        came, states = numbers_of(rows), told(receipt)
        assert set(expected) - set(came) <= set(states.get(State.FAILED, []))
        if not doubles:
            assert came == expected
        # Each call settles a bar or gives its window up.
        assert receipt.exchange_calls <= wanted[1] - wanted[0]


# --- Only the newest bars ---------------------------------------------------------------------------------------------


def newest_only(root, missing=(), now=40.5, first=0) -> HistoryRig:
    """Return a rig at an exchange with bars since long ago, of which it serves the newest seven."""
    rig = HistoryRig(root, minute(now))
    opens = [minute(number) for number in range(first, 70) if number not in missing]
    return rig.connect(FakeExchange(opens, LIMIT, Anchoring.NEWEST_ONLY, now=rig.present))


async def test_what_the_exchange_serves_no_more_is_unavailable_and_never_asked_for(tmp_path):
    rig = newest_only(tmp_path)

    plan = await rig.manager.plan(SERIES, minutes(0, 60), refresh=False)
    rows, receipt = await rig.answer(minutes(0, 60))
    again, repeated = await rig.answer(minutes(0, 60))
    refreshed, _ = await rig.answer(minutes(0, 60), refresh=True)
    ledger = await rig.manager.coverage(SERIES, minute(30), minute(60), limit=10)

    assert numbers_of(rows) == numbers_of(again) == numbers_of(refreshed) == list(range(34, 40))
    assert plan.missing == (minutes(34, 40),)
    assert plan.exchange_calls == receipt.exchange_calls == 1
    assert rig.exchange.windows == [minutes(34, 40)] * 2
    assert told(receipt) == told(repeated) == {State.UNAVAILABLE: list(range(34)), State.HELD: list(range(34, 40))}
    assert [(gap.range, gap.reason) for gap in receipt.gaps] == [(minutes(0, 34), "fake serves only its newest 7 bars")]
    assert [(each.range, each.state) for each in ledger.segments] == [
        (minutes(30, 34), State.UNAVAILABLE),
        (minutes(34, 40), State.HELD),
    ]


async def test_a_range_that_is_wholly_out_of_reach_costs_no_page_but_the_symbol_is_confirmed(tmp_path):
    rig = newest_only(tmp_path)

    _, receipt = await rig.answer(minutes(0, 20))

    assert told(receipt) == {State.UNAVAILABLE: list(range(20))}
    assert rig.exchange.windows == []
    assert (await rig.storage.facts(SERIES)).market_id == "BTCUSDT"
    assert await rig.storage.list_partitions(SERIES) == []


async def test_what_was_stored_while_it_was_served_stays(tmp_path):
    rig = newest_only(tmp_path)
    await rig.answer(minutes(36, 40))
    rig.now = minute(60.5)

    rows, receipt = await rig.answer(minutes(30, 60))

    assert numbers_of(rows) == [36, 37, 38, 39, *range(54, 60)]
    assert told(receipt)[State.UNAVAILABLE] == [*range(30, 36), *range(40, 54)]


async def test_what_an_exchange_of_the_newest_bars_does_not_have_is_no_bar_out_of_reach(tmp_path):
    rig = newest_only(tmp_path, missing=[36])

    rows, receipt = await rig.answer(minutes(30, 40))

    assert numbers_of(rows) == [34, 35, 37, 38, 39]
    assert told(receipt)[State.EMPTY] == [36]  # young
    assert told(receipt)[State.UNAVAILABLE] == [30, 31, 32, 33]


async def test_a_bar_that_is_served_no_more_when_its_page_comes_is_unavailable_and_not_asked_for_again(tmp_path):
    rig = newest_only(tmp_path)

    def late(opens):
        rig.now = minute(42.5)
        return [minute(number) for number in range(43)]

    rig.exchange.spoil = late
    rows, receipt = await rig.answer(minutes(30, 40))

    assert numbers_of(rows) == [36, 37, 38, 39]
    assert told(receipt)[State.UNAVAILABLE] == list(range(30, 36))
    assert len(rig.exchange.windows) == 1


async def test_what_a_full_answer_leaves_out_is_unavailable_even_while_our_clock_is_behind(tmp_path):
    rig = newest_only(tmp_path)
    rig.exchange.spoil = lambda opens: [minute(number) for number in range(42)]  # it is a minute further

    rows, receipt = await rig.answer(minutes(30, 40))

    assert numbers_of(rows) == list(range(35, 40))
    assert told(receipt)[State.UNAVAILABLE] == list(range(30, 35))
    assert len(rig.exchange.windows) == 1


async def test_a_bar_that_a_duplicate_pushed_out_of_the_newest_ones_is_asked_for_again(tmp_path):
    rig = newest_only(tmp_path)
    answers = iter([lambda opens: [*opens, opens[-1]], list])
    rig.exchange.spoil = lambda opens: next(answers)(opens)

    rows, receipt = await rig.answer(minutes(30, 40))

    assert numbers_of(rows) == list(range(34, 40))
    assert rig.exchange.windows == [minutes(34, 40), minutes(34, 35)]
    assert receipt.exchange_calls == 2


async def test_a_failure_that_is_out_of_reach_by_now_is_unavailable(tmp_path):
    rig = newest_only(tmp_path)
    rig.exchange.spoil = lambda opens: [minute(1000.5)]
    _, failed = await rig.answer(minutes(30, 40))
    rig.now = minute(42.5)

    _, receipt = await rig.answer(minutes(30, 36))

    assert told(failed)[State.FAILED] == list(range(34, 40))
    assert told(receipt) == {State.UNAVAILABLE: list(range(30, 36))}


@quick(60)
@given(st.sets(st.integers(30, 39)), seeds, st.floats(0, 1))
async def test_of_the_newest_bars_no_absence_is_invented_either(missing, random, defects):
    now = minute(40.5)
    with tempfile.TemporaryDirectory() as root:
        rig = newest_only(Path(root), missing)
        rig.exchange.spoil, rig.exchange.shuffle = spoiling(random, defects, now), shuffling(random, defects)

        rows, receipt = await rig.answer(minutes(20, 40))

        came, states = numbers_of(rows), told(receipt)
        expected = set(range(34, 40)) - missing
        assert set(came) <= expected
        assert expected - set(came) <= {*states.get(State.FAILED, [])}
        assert receipt.exchange_calls <= 6 * 7


# --- An answer that proves nothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("anchoring", WITH_HISTORY)
async def test_five_answers_to_another_question_are_a_failure(tmp_path, anchoring):
    rig = HistoryRig(tmp_path, LATER)
    rig.connect(FakeExchange(map(minute, range(40)), LIMIT, anchoring, now=rig.present))
    rig.exchange.spoil = lambda opens: [minute(-5)] * 9

    _, receipt = await rig.answer(minutes(0, 5))

    assert [(gap.state, gap.reason) for gap in receipt.gaps] == [(State.FAILED, "the answer does not fit the question")]
    assert len(rig.exchange.windows) == receipt.exchange_calls == 5


async def test_what_one_answer_left_unusable_is_asked_for_again(tmp_path):
    rig = HistoryRig(tmp_path, LATER)
    rig.connect(FakeExchange(map(minute, range(40)), LIMIT, Anchoring.START, now=rig.present))
    answers = iter([[minute(-5)], [minute(0), minute(1), minute(2.5), minute(3), minute(4)]])
    rig.exchange.spoil = lambda opens: next(answers, opens)

    rows, receipt = await rig.answer(minutes(0, 5))

    assert numbers_of(rows) == [0, 1, 2, 3, 4]
    assert receipt.exchange_calls == 3
    assert receipt.gaps == []


async def test_an_answer_that_is_cut_again_and_again_is_not_asked_for_for_ever(tmp_path):
    rig = HistoryRig(tmp_path, LATER)
    rig.connect(FakeExchange(map(minute, range(40)), LIMIT, Anchoring.START, now=rig.present))
    rig.exchange.spoil = lambda opens: [opens[0]] * LIMIT

    rows, receipt = await rig.answer(minutes(0, LIMIT))

    assert numbers_of(rows) == [0]
    assert [(gap.range, gap.state, gap.reason) for gap in receipt.gaps] == [
        (minutes(1, LIMIT), State.FAILED, "the answer was cut short")
    ]
    assert len(rig.exchange.windows) == 1


async def test_what_was_wrong_with_answers_is_counted_by_exchange(tmp_path):
    rig = HistoryRig(tmp_path, LATER)
    rig.connect(FakeExchange(map(minute, range(40)), LIMIT, Anchoring.START, now=rig.present))
    rig.exchange.spoil = lambda opens: [opens[0], *opens]

    await rig.answer(minutes(0, 3))

    assert rig.fetcher.findings["fake"] == Counter(duplicate=1)
