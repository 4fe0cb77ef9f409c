"""Several at a time: the versions and locks of every IRawDataStorage, whatever the place and the layout."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from storage_samples import COVERAGE, EMPTY, FACTS, MINUTES, PARTITION, held, known, write
from storage_under_test import StorageUnderTest
from unit_builders import assert_same_rows, epoch_ms, minute, minute_bars, minutes, series, table, utc

from cb_trade_data.errors import VersionConflictError
from cb_trade_data.models.digest import unit_digests
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.models.partition import partition_at
from cb_trade_data.storage.coverage import Coverage
from cb_trade_data.storage.layouts import metadata
from cb_trade_data.storage.layouts.metadata import inspected
from cb_trade_data.storage.stored_partition import Change, Outline, StoredPartition


class VersionsContract(StorageUnderTest):
    """Who writes over what has changed is told so, and one at a time has the lock."""

    # --- Partitions, versions, conflicts ---

    async def test_the_version_of_a_partition_is_told_without_reading_it(self, storage, twin, around, monkeypatch):
        assert await twin.partition_version(PARTITION) is None
        first = await write(storage, known([0]))
        assert await twin.partition_version(PARTITION) == first.version
        second = await write(storage, known([0, 1], base=first))

        monkeypatch.setattr(twin, "read_object", None)
        assert await twin.partition_version(PARTITION) == second.version != first.version

        around.delete(around.path_of(self.form.commit_end))
        assert await twin.partition_version(PARTITION) is None

    async def test_rows_and_coverage_come_back_as_they_were_written(self, storage, twin):
        rows = table([(1_709_164_680_000, 5e-324, 1.7976931348623157e308, 0.0, 0.1, 1e22)])

        written = await write(storage, StoredPartition(PARTITION, rows, COVERAGE))

        for reader in (storage, twin):
            stored = await reader.read_partition(PARTITION)
            assert_same_rows(stored.rows, rows)
            assert stored.coverage == COVERAGE
            assert stored.version == written.version is not None

    async def test_the_digests_of_the_rows_are_kept_with_them(self, storage, twin):
        await write(storage, known([*range(5), *range(1500, 1510)]))

        for wanted in (minutes(0, 1), None):
            stored = await twin.read_partition(PARTITION, wanted)

            assert stored.digests == unit_digests(minute_bars([*range(5), *range(1500, 1510)]), MINUTES)
            assert len(stored.digests) == 3
        changed = await write(storage, stored.with_changes([Change(minute_bars([3], 7.0), (held(3, 4),))]))
        found = (await twin.read_partition(PARTITION)).digests
        assert found == unit_digests(changed.rows, MINUTES)
        assert {start_ms for start_ms in found if found[start_ms] != stored.digests[start_ms]} == {epoch_ms(minute(2))}

    async def test_what_was_found_in_the_rows_is_kept_with_them(self, storage, twin):
        written = await write(storage, known([*range(5), *range(1500, 1510)]))

        for found in (
            (await twin.read_partition(PARTITION, minutes(0, 1))).evidence,
            (await twin.read_partition(PARTITION)).evidence,
            (await twin.read_outline(PARTITION)).evidence,
        ):
            assert found == inspected(written)
            assert [each.rows for each in found.values()] == [2, 3, 10]

    async def test_a_change_has_all_rows_inspected_again(self, storage, twin):
        await write(storage, known(range(5)))

        stored = await twin.read_partition(PARTITION)
        changed = await write(storage, stored.with_changes([Change(minute_bars([5], 7.0), (held(5, 6),))]))

        found = (await twin.read_partition(PARTITION)).evidence
        assert found == inspected(changed) != stored.evidence

    async def test_damaged_evidence_is_none_and_takes_nothing_else_with_it(self, storage, twin, around, monkeypatch):
        """It can be found again in the rows, which have checksums of their own."""
        with monkeypatch.context() as patch:
            patch.setattr(metadata, "_write_evidence", lambda found: b'{"checksum":"0","found":[1,[[0,2,{}]]]}')
            await write(storage, replace(known([0, 1]), coverage=COVERAGE))
        before = around.content()

        part = await twin.read_partition(PARTITION, minutes(0, 1))
        whole = await twin.read_partition(PARTITION)

        assert (part.evidence, whole.evidence) == (None, None)
        assert_same_rows(whole.rows, minute_bars([0, 1]))
        assert part.digests == whole.digests == unit_digests(minute_bars([0, 1]), MINUTES)
        assert await twin.read_outline(PARTITION) == Outline(COVERAGE, None)
        assert around.content() == before, "nothing was set aside"
        again = await write(twin, whole)
        assert (await storage.read_partition(PARTITION)).evidence == inspected(again)

    async def test_coverage_and_evidence_are_read_without_rows(self, storage, twin, around, checksums):
        stored = await write(storage, replace(known([0, 1]), coverage=COVERAGE))
        checksums.clear()

        assert await twin.read_outline(PARTITION) == Outline(COVERAGE, inspected(stored))
        assert checksums == []

        around.delete(around.path_of(self.form.commit_end))
        assert await twin.read_outline(PARTITION) == Outline(Coverage(), {})

    async def test_one_object_commits_rows_and_coverage(self, storage, around):
        """Without it nothing is there, whatever else lies about."""
        await write(storage, StoredPartition(PARTITION, minute_bars([0, 1, 2]), COVERAGE))
        assert len(around.paths()) == self.form.objects(rows=3)

        around.delete(around.path_of(self.form.commit_end))

        assert await storage.read_partition(PARTITION) == EMPTY
        assert await storage.list_coins("binance") == []

    async def test_coverage_may_be_kept_without_any_row(self, storage):
        await write(storage, replace(EMPTY, coverage=COVERAGE))

        stored = await storage.read_partition(PARTITION)
        assert (stored.coverage, stored.rows.num_rows) == (COVERAGE, 0)
        assert stored.rows.schema.equals(OHLCV_SCHEMA)

    async def test_every_write_makes_a_new_version_that_the_next_write_may_build_on(self, storage):
        stored, versions = EMPTY, set()
        for number in range(5):
            stored = await write(storage, known([number], base=stored))
            versions.add(stored.version)

        assert len(versions) == 5
        assert_same_rows((await storage.read_partition(PARTITION)).rows, minute_bars([4]))

    async def test_a_version_stays_while_nothing_is_written(self, storage, twin):
        await write(storage, known([0]))
        before = await storage.read_partition(PARTITION)

        await twin.save_bulk_entries(series("ETH/USDT"), minute_bars([0]))
        await twin.write_facts(MINUTES, FACTS)

        assert (await storage.read_partition(PARTITION)).version == before.version

    async def test_a_write_over_a_stale_version_is_a_conflict_and_changes_nothing(self, storage, twin, around):
        first = await write(storage, known([0]))
        second = await write(twin, known([0, 1], base=first))
        content = around.read(around.path_of(self.form.commit_end))

        with pytest.raises(VersionConflictError):
            await write(storage, known([0, 2], base=first))

        assert around.read(around.path_of(self.form.commit_end)) == content
        assert (await storage.read_partition(PARTITION)).version == second.version

    async def test_a_partition_created_twice_keeps_its_first_content(self, storage, twin, around):
        await write(storage, known([0]))
        content = around.read(around.path_of(self.form.commit_end))

        with pytest.raises(VersionConflictError):
            await write(twin, known([1]))

        assert around.read(around.path_of(self.form.commit_end)) == content

    async def test_a_write_over_a_version_of_which_the_object_is_gone_is_a_conflict(self, storage, around):
        vanished = await write(storage, known([0]))
        around.delete(around.path_of(self.form.commit_end))

        with pytest.raises(VersionConflictError):
            await write(storage, known([0, 1], base=vanished))

        assert await storage.read_partition(PARTITION) == EMPTY

    async def test_of_many_who_create_a_partition_at_once_one_wins(self, storage, twin):
        writes = [write((storage, twin)[number % 2], known([number])) for number in range(8)]

        outcomes = await asyncio.gather(*writes, return_exceptions=True)

        winners = [outcome for outcome in outcomes if isinstance(outcome, StoredPartition)]
        assert len(winners) == 1
        assert sum(isinstance(outcome, VersionConflictError) for outcome in outcomes) == 7
        stored = await storage.read_partition(PARTITION)
        assert stored.version == winners[0].version
        assert_same_rows(stored.rows, winners[0].rows)

    async def test_writers_at_the_same_time_lose_nothing(self, storage, twin):
        await asyncio.gather(
            *(
                (storage, twin)[number % 2].save_bulk_entries(MINUTES, minute_bars([number, number + 100]))
                for number in range(6)
            )
        )

        stored = await storage.read_partition(PARTITION)
        assert_same_rows(stored.rows, minute_bars([*range(6), *range(100, 106)]))
        assert stored.coverage == Coverage((held(0, 6), held(100, 106)))

    async def test_readers_beside_writers_see_whole_objects_only(self, storage, twin):
        async def write() -> None:
            for number in range(15):
                await storage.save_bulk_entries(MINUTES, minute_bars([number]))

        async def read() -> None:
            seen = 0
            while seen < 15:
                stored = await twin.read_partition(PARTITION)
                assert stored.rows.num_rows >= seen
                seen = stored.rows.num_rows
                assert_same_rows(stored.rows.combine_chunks(), minute_bars(range(seen)))
                assert stored.coverage == (Coverage((held(0, seen),)) if seen else Coverage())

        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            tasks.create_task(read())

    # --- Facts ---

    async def test_facts_come_back_as_they_were_written(self, storage, twin):
        written = await storage.write_facts(MINUTES, FACTS)

        assert await twin.read_facts(MINUTES) == written
        assert replace(written, version=None) == FACTS
        assert written.version is not None

    async def test_each_series_has_facts_of_its_own(self, storage):
        await storage.write_facts(MINUTES, FACTS)
        await storage.write_facts(series(timeframe="1M"), replace(FACTS, market_id="other"))

        assert (await storage.read_facts(MINUTES)).market_id == "BTCUSDT"
        assert (await storage.read_facts(series(timeframe="1M"))).market_id == "other"
        assert await storage.read_facts(series(timeframe="5m")) is None

    async def test_facts_over_a_stale_version_are_a_conflict_and_change_nothing(self, storage, twin):
        first = await storage.write_facts(MINUTES, FACTS)
        second = await twin.write_facts(MINUTES, replace(first, market_id="second"))

        for stale in (first, FACTS):
            with pytest.raises(VersionConflictError):
                await storage.write_facts(MINUTES, replace(stale, market_id="third"))

        assert await storage.read_facts(MINUTES) == second

    # --- Locks ---

    async def test_one_at_a_time_has_the_lock_of_a_partition(self, storage, twin):
        lock = await storage.try_lock(PARTITION)

        assert lock is not None
        assert await storage.try_lock(PARTITION) is None
        assert await twin.try_lock(PARTITION) is None
        await lock.release()

    async def test_a_lock_that_was_released_can_be_taken_at_once(self, storage, twin):
        for taker in (storage, twin, storage):
            lock = await taker.try_lock(PARTITION)
            assert lock is not None
            await lock.release()

    async def test_the_locks_of_other_partitions_are_free(self, storage):
        others = [partition_at(MINUTES, utc("2024-03-01")), partition_at(series("ETH/USDT"), minute(0))]

        locks = [await storage.try_lock(partition) for partition in (PARTITION, *others)]

        assert None not in locks
        for lock in locks:
            await lock.release()

    async def test_a_lock_is_no_object_and_hinders_no_writer(self, storage, twin, around):
        lock = await storage.try_lock(PARTITION)

        assert around.paths() == []
        await twin.save_bulk_entries(MINUTES, minute_bars([0]))
        assert await storage.list_coins("binance") == ["BTC/USDT"]
        await lock.release()

    async def test_an_expired_lock_goes_to_the_next_and_its_old_holder_overwrites_nothing(self, storage, twin, around):
        """A holder that was stopped wakes up and writes over what it read: the versions have moved on."""
        lock = await storage.try_lock(PARTITION)
        base = await storage.read_partition(PARTITION)

        around.expire_lock(storage._paths.part_path(PARTITION))
        taken = await twin.try_lock(PARTITION) or await twin.try_lock(PARTITION)
        assert taken is not None
        await write(twin, known([5, 6]))
        with pytest.raises(VersionConflictError):
            await write(storage, known([0, 1], base=base))

        assert_same_rows((await storage.read_partition(PARTITION)).rows, minute_bars([5, 6]))
        await lock.release()
        assert await storage.try_lock(PARTITION) is None, "the old holder released its own lock only"
        await taken.release()
