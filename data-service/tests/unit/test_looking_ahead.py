"""While one partition comes from the exchange, the next one is asked for, too; no further, and not for nothing."""

from __future__ import annotations

from contextlib import aclosing
from datetime import timedelta

import pytest
from answers import tables
from fake_exchange import FakeExchange, rows_at
from history_rig import SERIES, HistoryRig
from service_harness import eventually
from unit_builders import assert_same_rows, span, utc

from cb_trade_data.storage.coverage import State

NOW = utc("2024-06-01")
THREE_MONTHS = span("2024-01-31T23:30", "2024-03-01T00:30")
FEBRUARY = span("2024-02-01", "2024-03-01")


MINUTES = [THREE_MONTHS.start + timedelta(minutes=number) for number in range(30 * 24 * 60)]
#: Around the borders only: few bars of three partitions.
OPENS = [each for each in MINUTES if each.day in (1, 29, 31) and each in THREE_MONTHS]


@pytest.fixture
def rig(tmp_path) -> HistoryRig:
    return HistoryRig(tmp_path, NOW).connect(FakeExchange(OPENS, 50_000, now=lambda: NOW))


def months_asked(rig: HistoryRig) -> set[int]:
    return {window.start.month for window in rig.exchange.windows}


async def test_the_next_partition_is_asked_for_before_the_first_one_is_read_to_its_end(rig):
    answer = await rig.manager.open(SERIES, THREE_MONTHS, refresh=False)
    async with aclosing(tables(answer)) as batches:
        await anext(batches)
        await eventually(lambda: months_asked(rig) == {1, 2})
        await anext(batches)
        await eventually(lambda: months_asked(rig) == {1, 2, 3})


async def test_looking_ahead_changes_neither_the_rows_nor_the_receipt(rig):
    plan = await rig.manager.plan(SERIES, THREE_MONTHS, refresh=False)

    rows, receipt = await rig.answer(THREE_MONTHS)
    again, second = await rig.answer(THREE_MONTHS)

    assert_same_rows(rows, rows_at(OPENS))
    assert_same_rows(again, rows)
    assert receipt.exchange_calls == len(rig.exchange.windows) == plan.exchange_calls == 3
    assert (receipt.rows_from_exchange, receipt.rows_from_storage) == (len(OPENS), 0)
    assert (second.rows_from_exchange, second.rows_from_storage, second.exchange_calls) == (0, len(OPENS), 0)


async def test_rows_that_are_stored_already_are_told_as_such(rig):
    await rig.answer(FEBRUARY)

    rows, receipt = await rig.answer(THREE_MONTHS)

    stored = [each for each in OPENS if each in FEBRUARY]
    assert_same_rows(rows, rows_at(OPENS))
    assert (receipt.rows_from_storage, receipt.exchange_calls) == (len(stored), 2)


async def test_before_the_first_row_nothing_is_asked_ahead(tmp_path):
    exchange = FakeExchange([utc("2024-03-01T00:05")], 50_000, now=lambda: NOW)
    rig = HistoryRig(tmp_path, NOW).connect(exchange)

    rows, receipt = await rig.answer(THREE_MONTHS)

    assert rows.num_rows == 1
    assert State.UNLISTED in {segment.state for segment in receipt.coverage}
    assert len(exchange.windows) == 2  # the empty one, after which the listing was looked up, and March


async def test_who_leaves_is_no_longer_waited_for_ahead_either(rig):
    answer = await rig.manager.open(SERIES, THREE_MONTHS, refresh=False)
    async with aclosing(tables(answer)) as batches:
        await anext(batches)

    await rig.fetcher.close()

    assert 3 not in months_asked(rig)
