"""What becomes of an answer whose day somebody else changes while it is read by the hour."""

from __future__ import annotations

import shutil
from datetime import timedelta
from unittest.mock import Mock

import pyarrow as pa
import pytest
from answers import tables
from event_samples import DAY, TRADES, at_ms, trades
from unit_builders import assert_same_rows

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.exchange_source.facts import Bounds, EventPaging, ExchangeFacts
from cb_trade_data.historical.answer import Answer
from cb_trade_data.historical.fetcher import HistoricalFetcher
from cb_trade_data.historical.reach import Reach
from cb_trade_data.models.digest import AnswerDigest
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Kind
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

HOUR_MS = 3_600_000
EXCHANGE = ExchangeFacts(
    "binance", ("1m",), 1000, spot_events={Kind.TRADES: EventPaging(1000, Bounds("startTime", "endTime"))}
)
ROWS = trades(*((number * HOUR_MS + 7, str(number)) for number in range(6)))
HELD = TimeRange(DAY, at_ms(6 * HOUR_MS))
WHOLE_DAY = TimeRange(DAY, DAY + timedelta(days=1))


class ChangingStorage(StorageManagerImpl):
    """The real storage manager; after the first read of an answer changes are made in turn, or all is lost (None)."""

    def __init__(self, root) -> None:
        super().__init__(LocalFileStorage(root, ParquetLayout()))
        self.root = root
        self.changes: list[Change | None] = []

    async def read(self, partition, wanted=None, *, known=None):
        stored = await super().read(partition, wanted, known=known)
        base = stored
        while self.changes:
            if (change := self.changes.pop(0)) is None:
                shutil.rmtree(self.root)
                base = StoredPartition.empty(partition)
            else:
                await self.commit(base, [change])
        return stored


def change(rows: pa.Table, held: TimeRange) -> Change:
    return Change(rows, (Segment(held, State.HELD),))


@pytest.fixture
def storage(tmp_path) -> ChangingStorage:
    return ChangingStorage(tmp_path)


async def answered(
    storage: ChangingStorage, held: TimeRange, wanted: TimeRange, *then: Change | None
) -> tuple[pa.Table, str]:
    """Return the rows and the digest of an answer about what was *held*, while *then* happens to it."""
    await storage.commit(StoredPartition.empty(partition_at(TRADES, DAY)), [change(ROWS, held)])
    storage.changes = [*then]
    end = WHOLE_DAY.end
    fetcher = Mock(HistoricalFetcher)
    reach = Reach(SeriesFacts(""))
    answer = Answer(
        TRADES, wanted, end, reach, EXCHANGE, refresh=False, storage=storage, fetcher=fetcher, now=lambda: end
    )
    rows = pa.concat_tables([table async for table in tables(answer)])
    assert storage.changes == []
    fetcher.flight.assert_not_called()
    return rows, answer.receipt.digest


def digest_of(rows: pa.Table, wanted: TimeRange) -> str:
    digest = AnswerDigest(TRADES)
    digest.add(wanted, rows)
    return digest.text()


async def test_a_day_that_grows_while_its_first_hours_are_read_is_read_on(storage):
    later = trades((7 * HOUR_MS, "100"))

    rows, digest = await answered(storage, HELD, HELD, change(later, TimeRange(HELD.end, at_ms(8 * HOUR_MS))))

    assert_same_rows(rows.combine_chunks(), ROWS)
    assert digest == digest_of(ROWS, HELD)


@pytest.mark.parametrize("held", [HELD, WHOLE_DAY], ids=["part", "whole day"])
async def test_where_the_next_hour_is_not_stored_any_more_the_answer_ends_with_an_error(storage, held):
    with pytest.raises(StorageUnavailableError, match="ask again"):
        await answered(storage, held, held, None)


async def test_where_only_the_next_hour_was_stored_anew_the_answer_ends_with_an_error_at_the_one_after_it(storage):
    next_hour = TimeRange(at_ms(HOUR_MS), at_ms(2 * HOUR_MS))

    with pytest.raises(StorageUnavailableError, match="ask again"):
        await answered(storage, HELD, HELD, None, change(ROWS.slice(1, 1), next_hour))


async def test_a_whole_day_is_read_on_where_the_rows_are_still_the_same(storage):
    rows, digest = await answered(storage, WHOLE_DAY, WHOLE_DAY, change(ROWS.slice(0, 0), WHOLE_DAY))

    assert_same_rows(rows.combine_chunks(), ROWS)
    assert digest == digest_of(ROWS, WHOLE_DAY)


async def test_a_whole_day_that_has_another_digest_by_now_ends_with_an_error(storage):
    other = trades((5 * HOUR_MS + 7, "999"))

    with pytest.raises(StorageUnavailableError, match="ask again"):
        await answered(storage, WHOLE_DAY, WHOLE_DAY, change(other, WHOLE_DAY))
