"""What every IRawDataStorage promises of kinds without bars, whatever the place and the layout."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import PurePosixPath

import pyarrow as pa
import pytest
from event_samples import (
    DAY,
    DAY_PARTITION,
    FUNDING,
    FUNDING_PARTITION,
    ODD_IDS,
    ORDER_BOOK,
    STORED_FUNDING,
    STORED_TRADES,
    TRADES,
    at_ms,
    funding,
    holding,
    many_trades,
    span_ms,
    trades,
)
from storage_samples import DAMAGES, FACTS, MINUTES, write
from storage_under_test import StorageUnderTest
from unit_builders import assert_same_rows, bars, minute_bars, series, span, utc

from cb_trade_data.errors import NewerFormatError, VersionConflictError
from cb_trade_data.models.digest import unit_digests
from cb_trade_data.models.market import SCHEMAS, rows_before, slice_range
from cb_trade_data.models.partition import EVER, partition_at
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.stored_partition import Change, StoredPartition

STORED = pytest.mark.parametrize("stored", [STORED_TRADES, STORED_FUNDING], ids=["trades", "funding_rate"])

# Of one that has trades in its first 30 milliseconds.
PARTS_OF_A_DAY = (
    span_ms(0, 1),
    span_ms(10, 20),
    span_ms(10.5, 20.5),
    span_ms(29, 30),
    span_ms(30, 200),
    span_ms(-9999, 9999),
    span_ms(86_399_999, 86_400_001),
)


class EventsContract(StorageUnderTest):
    """Trades, of which several happen in one millisecond, and funding rates, of which the mark price may be missing."""

    @STORED
    async def test_events_come_back_as_they_were_written(self, storage, twin, stored):
        written = await write(storage, stored)

        for reader in (storage, twin):
            found = await reader.read_partition(stored.partition)
            assert_same_rows(found.rows.combine_chunks(), stored.rows)
            assert (found.coverage, found.version) == (stored.coverage, written.version)
            assert found.digests == unit_digests(stored.rows, stored.partition.series)

    async def test_ids_may_be_as_odd_as_they_like(self, storage, twin, around):
        """In one millisecond, all of them: none is taken for another, nor lies anywhere else."""
        rows = trades(*((7, each) for each in ODD_IDS), *((8, each) for each in ODD_IDS))

        await storage.save_bulk_entries(TRADES, rows)

        assert_same_rows(await twin.get_range(TRADES, span_ms(0, 9)), rows)
        assert len(around.paths()) == self.form.objects(rows=len(rows))
        folder = storage.paths.series_folder(TRADES)
        for path in around.paths():
            assert path.startswith(f"{folder}/")
            assert not {"", ".", ".."} & {*PurePosixPath(path).parts}
            assert all(len(part.encode()) <= 255 for part in path.split("/"))

    async def test_saved_events_are_held_in_their_milliseconds(self, storage):
        await storage.save_bulk_entries(TRADES, trades((5, "1"), (5, "2"), (6, "3"), (9, "4")))

        found = (await storage.read_partition(DAY_PARTITION)).coverage
        assert found == Coverage(tuple(Segment(each, State.HELD) for each in (span_ms(5, 7), span_ms(9, 10))))

    async def test_events_may_be_saved_in_any_order_and_the_last_of_an_id_counts(self, storage):
        await storage.save_bulk_entries(
            TRADES,
            pa.concat_tables([trades((5, "10"), (5, "9"), (4, "7")), trades((5, "9"), price=700.0)]),
        )

        expected = [trades((4, "7")), trades((5, "9"), price=700.0), trades((5, "10"))]
        assert_same_rows(await storage.get_range(TRADES, span_ms(0, 9)), pa.concat_tables(expected).combine_chunks())

    async def test_the_rows_of_a_time_are_replaced_together(self, storage, around):
        """What an exchange took back is gone with the next answer that speaks for its millisecond."""
        await storage.save_bulk_entries(TRADES, trades((4, "6"), (5, "7"), (5, "8"), (5, "9"), (6, "10")))

        await storage.save_bulk_entries(TRADES, trades((5, "8"), price=700.0))

        expected = [trades((4, "6")), trades((5, "8"), price=700.0), trades((6, "10"))]
        assert_same_rows(await storage.get_range(TRADES, span_ms(0, 9)), pa.concat_tables(expected).combine_chunks())
        assert len(around.paths()) == self.form.objects(rows=3)

    async def test_a_day_of_trades_is_a_partition_of_its_own(self, storage, around):
        await storage.save_bulk_entries(TRADES, trades((-1, "1"), (0, "2"), (86_399_999, "3"), (86_400_000, "4")))

        days = [partition_at(TRADES, at_ms(number)) for number in (-1, 0, 86_400_000)]
        assert await storage.list_partitions(TRADES) == days
        assert (await storage.read_partition(days[1])).rows.column("id").to_pylist() == ["2", "3"]
        assert_same_rows(
            await storage.get_range(TRADES, span("2024-02-01", "2024-04-01")),
            trades((-1, "1"), (0, "2"), (86_399_999, "3"), (86_400_000, "4")),
        )

    async def test_a_part_of_a_day_has_all_of_its_rows_and_the_whole_coverage(self, storage, twin):
        rows = many_trades(90)
        stored = holding(TRADES, rows, span_ms(0, 5_000))
        written = await write(storage, stored)

        for reader, wanted in product((storage, twin), PARTS_OF_A_DAY):
            part = await reader.read_partition(DAY_PARTITION, wanted)

            assert_same_rows(part.rows_in(wanted).combine_chunks(), slice_range(rows, wanted).combine_chunks())
            assert (part.coverage, part.version) == (stored.coverage, written.version), wanted

    async def test_a_part_of_all_funding_rates_has_all_of_its_rows(self, storage):
        await write(storage, STORED_FUNDING)
        wanted = span("2024-02-28T16:00", "2024-02-29T00:00:00.001")

        part = await storage.read_partition(FUNDING_PARTITION, wanted)

        assert_same_rows(part.rows_in(wanted).combine_chunks(), STORED_FUNDING.rows.slice(1, 2).combine_chunks())

    @pytest.mark.parametrize("of", [TRADES, FUNDING, ORDER_BOOK], ids=str)
    async def test_knowledge_may_be_kept_without_any_event(self, storage, twin, of):
        coverage = Coverage((Segment(span_ms(0, 5), State.HELD), Segment(span_ms(5, 9), State.EMPTY, at_ms(99), 1)))
        stored = replace(StoredPartition.empty(partition_at(of, DAY)), coverage=coverage)

        await write(storage, stored)

        found = await twin.read_partition(stored.partition)
        assert (found.coverage, found.rows.num_rows) == (coverage, 0)
        assert found.rows.schema.equals(SCHEMAS[of.kind])
        assert await twin.get_first_timestamp(of) is await twin.get_latest_timestamp(of) is None
        assert await twin.list_series() == {of: [stored.partition]}

    async def test_the_edges_of_trades_are_those_of_their_first_and_last_days_with_rows(self, storage):
        for day in ("2024-02-27", "2024-03-02"):
            await write(
                storage,
                replace(
                    StoredPartition.empty(partition_at(TRADES, utc(day))),
                    coverage=Coverage((Segment(span(day, f"{day}T01:00"), State.HELD),)),
                ),
            )
        await storage.save_bulk_entries(TRADES, trades((7, "1"), (7, "2"), (86_400_009, "3"), (86_400_009, "4")))

        assert await storage.get_first_timestamp(TRADES) == at_ms(7)
        assert await storage.get_latest_timestamp(TRADES) == at_ms(86_400_009)

    async def test_the_kinds_of_a_symbol_are_kept_apart_and_listed_together(self, storage):
        perpetual = replace(FUNDING, symbol=TRADES.symbol)
        await storage.save_bulk_entries(MINUTES, bars([DAY]))
        await storage.save_bulk_entries(series(timeframe="1d"), bars([DAY]))
        await storage.save_bulk_entries(TRADES, trades((7, "1"), (-5, "0")))
        await storage.save_bulk_entries(perpetual, funding([DAY], [None]))
        await storage.save_bulk_entries(replace(TRADES, exchange="okx"), trades((8, "1")))
        facts = {MINUTES: "bars", TRADES: "trades", perpetual: "funding"}
        for of, market_id in facts.items():
            await storage.write_facts(of, replace(FACTS, market_id=market_id))

        stored = [MINUTES, series(timeframe="1d"), TRADES, perpetual]
        assert list(await storage.list_series("binance")) == sorted(stored, key=str)
        assert [str(each) for each in (await storage.list_series())[TRADES]] == [
            "binance BTC/USDT trades 2024-02-28",
            "binance BTC/USDT trades 2024-02-29",
        ]
        assert await storage.list_coins("binance") == ["BTC/USDT"]
        assert await storage.list_coins("okx") == ["BTC/USDT"]
        assert_same_rows(await storage.get_range(MINUTES, EVER_SINCE_2024), bars([DAY]))
        assert_same_rows(await storage.get_range(TRADES, EVER_SINCE_2024), trades((-5, "0"), (7, "1")))
        assert_same_rows(await storage.get_range(perpetual, EVER), funding([DAY], [None]))
        for of, market_id in facts.items():
            assert (await storage.read_facts(of)).market_id == market_id

    async def test_days_are_locked_and_written_one_by_one(self, storage, twin):
        lock = await storage.try_lock(DAY_PARTITION)
        other = await twin.try_lock(partition_at(TRADES, at_ms(-1)))
        assert lock is not None
        assert other is not None
        assert await twin.try_lock(DAY_PARTITION) is None
        await lock.release()
        await other.release()

        await write(storage, STORED_TRADES)
        with pytest.raises(VersionConflictError):
            await write(twin, STORED_TRADES)

    async def test_a_change_writes_the_day_anew_with_the_digest_of_its_rows(self, storage, twin):
        written = await write(storage, holding(TRADES, many_trades(30), span_ms(0, 10)))
        change = Change(trades((4, "7"), (12, "8")), (Segment(span_ms(10, 20), State.HELD),))

        changed = written.with_changes([change])
        await storage.write_partition(changed, change.rows)

        found = await twin.read_partition(DAY_PARTITION)
        assert_same_rows(found.rows.combine_chunks(), changed.rows.combine_chunks())
        assert found.rows.num_rows == 30 - 3 + 2
        assert found.digests == unit_digests(changed.rows, TRADES)

    @pytest.mark.parametrize("damage", DAMAGES)
    @STORED
    async def test_damaged_events_are_set_aside_and_not_there_any_more(self, storage, around, stored, damage):
        await write(storage, stored)
        path = storage.paths.part_path(stored.partition)
        damaged = DAMAGES[damage](around.read(path))
        around.write(path, damaged)

        assert await storage.read_partition(stored.partition) == StoredPartition.empty(stored.partition)

        (copy,) = [each for each in around.paths() if each.startswith("_damaged/")]
        assert around.read(copy) == damaged
        assert storage.damaged_objects == 1

    @STORED
    async def test_events_of_a_later_format_are_refused_and_left_alone(self, storage, around, stored):
        await write(storage, stored)
        path = storage.paths.part_path(stored.partition)
        around.write(path, self.form.of_a_later_format(around.read(path)))
        before = around.content()

        for wanted in (None, span_ms(0, 5)):
            with pytest.raises(NewerFormatError):
                await storage.read_partition(stored.partition, wanted)
        with pytest.raises(NewerFormatError):
            await storage.save_bulk_entries(stored.partition.series, stored.rows)

        assert around.content() == before
        assert storage.damaged_objects == 0

    async def test_trades_beside_bars_hinder_none_of_them(self, storage, around):
        await storage.save_bulk_entries(MINUTES, minute_bars([0]))
        await write(storage, STORED_TRADES)
        around.write(storage.paths.part_path(DAY_PARTITION), b"garbage")

        assert (await storage.read_partition(DAY_PARTITION)).version is None
        assert (await storage.get_range(MINUTES, EVER_SINCE_2024)).num_rows == 1


EVER_SINCE_2024 = span("2024-01-01", "2024-06-01")


class SingleObjectEventsContract(StorageUnderTest):
    """What the layouts promise besides that keep a partition in one object."""

    async def test_rows_of_one_time_are_read_together_wherever_a_batch_ends(self, storage, twin):
        """Seven rows in each millisecond: no batch that is full ends where time moves on by itself."""
        rows = many_trades(17_500, of_one_ms=7)
        await write(storage, holding(TRADES, rows, span_ms(0, 10_000)))

        borders = [rows.column("timestamp")[size * number].as_py() for size in (4_320, 8_192) for number in (1, 2)]
        for reader in (storage, twin):
            for border in borders:
                first = rows_before(rows, int(border.timestamp() * 1000))
                wanted = span_ms(*(((border - DAY).total_seconds() * 1000 + more) for more in (0, 1)))
                part = await reader.read_partition(DAY_PARTITION, wanted)
                assert_same_rows(part.rows_in(wanted).combine_chunks(), rows.slice(first, 7).combine_chunks())
        assert_same_rows((await twin.read_partition(DAY_PARTITION)).rows.combine_chunks(), rows)
        assert storage.damaged_objects == twin.damaged_objects == 0
