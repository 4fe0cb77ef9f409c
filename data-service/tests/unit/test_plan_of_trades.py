"""A plan counts stored trades without having a whole day of them in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from event_samples import DAY, at_ms, trades
from fake_exchange import SYMBOL, FakeExchange
from history_rig import HistoryRig

from cb_trade_data.exchange_source.facts import Bounds, EventPaging
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.stored_partition import Change, StoredPartition

HOUR_MS = 3_600_000
TRADES = Series("fake", SYMBOL, Kind.TRADES, None)
TODAY = TimeRange(DAY, DAY + timedelta(days=1))


async def test_stored_trades_are_counted_by_the_hour_and_a_day_of_none_is_looked_at_once(tmp_path, monkeypatch):
    rig = HistoryRig(tmp_path, DAY + timedelta(days=9))
    exchange = FakeExchange([])
    paging = EventPaging(1000, Bounds("startTime", "endTime"))
    exchange.facts = replace(exchange.facts, spot_events={Kind.TRADES: paging})
    rig.connect(exchange)
    rows = trades(*((number * HOUR_MS + 5, str(number)) for number in range(24)))
    held = Change(rows, (Segment(TODAY, State.HELD),))
    await rig.storage.commit(StoredPartition.empty(partition_at(TRADES, DAY)), [held])
    asked = []
    read = rig.storage.read

    async def watched(partition, wanted=None, **others):
        asked.append(wanted)
        return await read(partition, wanted, **others)

    monkeypatch.setattr(rig.storage, "read", watched)
    wanted = TimeRange(at_ms(HOUR_MS // 2), at_ms(36 * HOUR_MS))

    plan = await rig.manager.plan(TRADES, wanted, refresh=False)

    assert plan.rows_in_storage == 23  # the first one is of before
    assert plan.missing == (TimeRange(TODAY.end, wanted.end),)
    assert plan.exchange_calls == 1
    assert len(asked) == 25
    assert all(each.end - each.start <= timedelta(hours=1) for each in asked)
