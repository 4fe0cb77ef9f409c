"""What every IRawDataStorage promises, whatever the place and the layout."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import replace

import pyarrow as pa
import pytest
from unit_builders import assert_same_rows, bars, minute, minute_bars, minutes, series, span, table, utc

from cb_trade_data.errors import CorruptObjectError, StorageUnavailableError, VersionConflictError
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.models.partition import partition_at
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.interfaces import IRawDataStorage
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import StoredPartition

MINUTES = series()
PARTITION = partition_at(MINUTES, minute(0))
FACTS = SeriesFacts("BTCUSDT", utc("2017-08-17T04:00"), utc("2024-02-29"))

COVERAGE = Coverage(
    (
        Segment(minutes(0, 3), State.HELD),
        Segment(minutes(3, 5), State.EMPTY, minute(90), asks=2),
        Segment(minutes(5, 6), State.FAILED, minute(91), reason="HTTP 503: “overloaded” \\ \x00"),
    )
)

ODD_SYMBOLS = [
    "BTC/USDT:USDT", "BTC/USD:BTC-240329-70000-C", "1000PEPE/USDT", "币安人生/USDT", "Ünï/çödé", "..", ".", ".hidden",
    "../../etc/passwd", "/", "a/../b", "50%/USDT", "%2F", "a b", " ", "a=b", "symbol=x", "a\\b", "con", "~", "*", "😀",
    "$PEOPLE/USDT", "a+b", "a&b", "a#b", "a?b", "'", '"', "part.parquet", "_series.json", "x" * 64, "/" * 64,
]  # fmt: skip


class Around(ABC):
    """Reads and writes the place without the storage under test, so that its reads and writes cannot cover for each
    other."""

    @abstractmethod
    def paths(self) -> list[str]:
        """Return the path of every object that a stranger finds, hidden files included, lock files left out."""

    @abstractmethod
    def read(self, path: str) -> bytes: ...

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Write an object, new or not."""

    @abstractmethod
    def rows(self, path: str) -> pa.Table:
        """Read an object's rows with another reader than ours."""

    @abstractmethod
    def failing_writes(self) -> AbstractContextManager[None]:
        """Make every write fail at its last step, as on a full disk, while the context lasts."""

    def path_of(self, end: str) -> str:
        """Return the one path that ends like this."""
        (path,) = [path for path in self.paths() if path.endswith(end)]
        return path


def held(first: int, end: int) -> Segment:
    return Segment(minutes(first, end), State.HELD)


class StorageContract:
    """A storage's test class inherits this and supplies the three fixtures and the end of its partitions' paths."""

    part_end: str

    @pytest.fixture
    def storage(self) -> IRawDataStorage:
        """Return the storage under test, with nothing in it."""
        raise NotImplementedError

    @pytest.fixture
    def twin(self) -> IRawDataStorage:
        """Return another storage over the same place, as another process would have."""
        raise NotImplementedError

    @pytest.fixture
    def around(self) -> Around:
        raise NotImplementedError

    # --- Nothing there ---

    async def test_reading_where_nothing_is_stored_finds_nothing_and_makes_nothing(self, storage, around):
        assert await storage.read_partition(PARTITION) == StoredPartition.empty(PARTITION)
        assert await storage.read_facts(MINUTES) is None
        assert await storage.get_latest_timestamp(MINUTES) is None
        assert await storage.list_coins("binance") == []
        assert not await storage.check_coin_exists("binance", "BTC/USDT")
        assert_same_rows(await storage.get_range(MINUTES, minutes(0, 9)), minute_bars([]))
        assert around.paths() == []

    # --- The six verbs ---

    async def test_saved_rows_can_be_read_by_others(self, storage, around):
        rows = minute_bars([0, 1])

        await storage.save_bulk_entries(MINUTES, rows)

        assert_same_rows(around.rows(around.path_of(self.part_end)), rows)

    async def test_a_saved_entry_is_one_row(self, storage):
        await storage.save_entry(MINUTES, minute_bars([1]))

        assert_same_rows(await storage.get_range(MINUTES, minutes(0, 9)), minute_bars([1]))

    async def test_saved_bars_are_held_and_the_holes_between_them_stay_unknown(self, storage):
        await storage.save_bulk_entries(MINUTES, minute_bars([0, 1, 4]))

        assert (await storage.read_partition(PARTITION)).coverage == Coverage((held(0, 2), held(4, 5)))

    async def test_rows_may_be_saved_in_any_order(self, storage):
        await storage.save_bulk_entries(MINUTES, minute_bars([4, 0, 1]))

        assert_same_rows(await storage.get_range(MINUTES, minutes(0, 9)), minute_bars([0, 1, 4]))

    async def test_of_rows_with_equal_times_the_last_one_counts(self, storage):
        rows = pa.concat_tables([minute_bars([0, 1], price=100), minute_bars([0], price=700)])

        await storage.save_bulk_entries(MINUTES, rows)

        stored = await storage.get_range(MINUTES, minutes(0, 9))
        assert_same_rows(stored, pa.concat_tables([minute_bars([0], price=700), minute_bars([1], price=100)]))

    async def test_a_row_saved_later_replaces_the_one_of_equal_time(self, storage):
        await storage.save_bulk_entries(MINUTES, minute_bars([0, 1, 2], price=100))

        await storage.save_bulk_entries(MINUTES, minute_bars([1], price=700))

        expected = [minute_bars([0]), minute_bars([1], price=700), minute_bars([2])]
        assert_same_rows(await storage.get_range(MINUTES, minutes(0, 9)), pa.concat_tables(expected))

    async def test_saving_no_rows_stores_nothing(self, storage, around):
        await storage.save_bulk_entries(MINUTES, minute_bars([]))

        assert around.paths() == []

    async def test_rows_of_several_partitions_are_kept_apart_and_read_together(self, storage, around):
        hour_ago = [utc("2023-12-31T23:58"), utc("2023-12-31T23:59"), utc("2024-01-01"), utc("2024-02-29T23:59")]

        await storage.save_bulk_entries(MINUTES, bars(hour_ago))

        assert len(around.paths()) == 3
        assert_same_rows(await storage.get_range(MINUTES, span("2023-01-01", "2025-01-01")), bars(hour_ago))

    async def test_a_range_includes_its_start_and_excludes_its_end(self, storage):
        await storage.save_bulk_entries(MINUTES, minute_bars(range(10)))

        assert_same_rows(await storage.get_range(MINUTES, minutes(2, 5)), minute_bars([2, 3, 4]))

    @pytest.mark.parametrize("timeframe", ["1s", "1m", "1h", "1d", "1w", "1M", "3M"])
    async def test_bars_of_every_length_are_found_again(self, storage, timeframe):
        of = series(timeframe=timeframe)
        opens = [of.grid.advance(utc("2023-12-25"), number) for number in range(6)]

        await storage.save_bulk_entries(of, bars(opens))

        whole = span("2023-01-01", "2026-01-01")
        assert_same_rows(await storage.get_range(of, whole), bars(opens))
        assert await storage.get_latest_timestamp(of) == opens[-1]
        stored = await storage.read_partition(partition_at(of, opens[-1]))
        assert [segment.range.end for segment in stored.coverage.segments] == [of.grid.bar(opens[-1]).end]

    async def test_the_latest_timestamp_is_that_of_the_newest_row_of_all_partitions(self, storage):
        await storage.save_bulk_entries(MINUTES, bars([utc("2023-12-31T23:59"), utc("2024-02-01"), utc("2024-01-31")]))

        assert await storage.get_latest_timestamp(MINUTES) == utc("2024-02-01")

    async def test_the_latest_timestamp_passes_over_partitions_that_hold_no_row(self, storage):
        await storage.save_bulk_entries(MINUTES, bars([utc("2023-12-31T23:59")]))
        await storage.write_partition(replace(StoredPartition.empty(PARTITION), coverage=COVERAGE))

        assert await storage.get_latest_timestamp(MINUTES) == utc("2023-12-31T23:59")

    async def test_series_of_one_symbol_are_kept_apart(self, storage):
        """Minutes and months differ by the case of one letter."""
        await storage.save_bulk_entries(MINUTES, minute_bars([0]))
        await storage.save_bulk_entries(series(timeframe="1M"), bars([utc("2024-01-01")]))

        assert await storage.get_latest_timestamp(MINUTES) == minute(0)
        assert await storage.get_latest_timestamp(series(timeframe="1M")) == utc("2024-01-01")
        assert await storage.get_latest_timestamp(series(timeframe="5m")) is None
        assert await storage.get_latest_timestamp(series("BTC/USDT:USDT")) is None
        assert await storage.get_latest_timestamp(series(exchange="okx")) is None

    async def test_the_coins_of_an_exchange_are_listed_sorted_and_once(self, storage):
        for of in (
            series("ETH/USDT"),
            series("BTC/USDT"),
            series("BTC/USDT", "1h"),
            series("SOL/USDT", exchange="okx"),
        ):
            await storage.save_bulk_entries(of, bars([utc("2024-01-01")]))

        assert await storage.list_coins("binance") == ["BTC/USDT", "ETH/USDT"]
        assert await storage.list_coins("okx") == ["SOL/USDT"]
        assert await storage.list_coins("bin") == []

    async def test_a_coin_exists_under_its_whole_name_only(self, storage):
        await storage.save_bulk_entries(series("BTC/USDT:USDT"), minute_bars([0]))

        assert await storage.check_coin_exists("binance", "BTC/USDT:USDT")
        assert not await storage.check_coin_exists("binance", "BTC/USDT")
        assert not await storage.check_coin_exists("binance", "BTC/USDT:USDT ")
        assert not await storage.check_coin_exists("okx", "BTC/USDT:USDT")

    async def test_facts_alone_do_not_make_a_coin(self, storage):
        await storage.write_facts(MINUTES, FACTS)

        assert await storage.list_coins("binance") == []
        assert not await storage.check_coin_exists("binance", "BTC/USDT")
        assert await storage.get_latest_timestamp(MINUTES) is None

    @pytest.mark.parametrize("symbol", ODD_SYMBOLS)
    async def test_a_symbol_may_be_as_odd_as_it_likes(self, storage, around, symbol):
        of = series(symbol)
        await storage.save_bulk_entries(of, minute_bars([0]))
        await storage.write_facts(of, FACTS)

        assert await storage.list_coins("binance") == [symbol]
        assert await storage.check_coin_exists("binance", symbol)
        assert await storage.get_latest_timestamp(of) == minute(0)
        assert_same_rows(await storage.get_range(of, minutes(0, 1)), minute_bars([0]))
        assert replace(await storage.read_facts(of), version=None) == FACTS
        assert all(path.startswith("ohlcv/exchange=binance/") for path in around.paths())

    async def test_any_symbol_that_can_be_asked_for_can_be_looked_up(self, storage):
        """A client may ask for any 64 characters: to be told that they are unknown, not that storage fails."""
        await storage.save_bulk_entries(MINUTES, minute_bars([0]))

        for letter in ("x", "/", "é", "币", "😀"):
            try:
                of = series(letter * 64)
            except ValueError:
                continue  # so it cannot be asked for
            assert await storage.read_facts(of) is None
            assert (await storage.read_partition(partition_at(of, minute(0)))).version is None
            assert await storage.get_latest_timestamp(of) is None

    # --- Partitions, versions, conflicts ---

    async def test_rows_and_coverage_come_back_as_they_were_written(self, storage, twin):
        rows = table([(1_709_164_680_000, 5e-324, 1.7976931348623157e308, 0.0, 0.1, 1e22)])

        written = await storage.write_partition(StoredPartition(PARTITION, rows, COVERAGE))

        for reader in (storage, twin):
            stored = await reader.read_partition(PARTITION)
            assert_same_rows(stored.rows, rows)
            assert stored.coverage == COVERAGE
            assert stored.version == written.version is not None

    async def test_rows_and_coverage_are_one_object(self, storage, around):
        await storage.write_partition(StoredPartition(PARTITION, minute_bars([0, 1, 2]), COVERAGE))

        assert len(around.paths()) == 1

    async def test_coverage_may_be_kept_without_any_row(self, storage):
        await storage.write_partition(replace(StoredPartition.empty(PARTITION), coverage=COVERAGE))

        stored = await storage.read_partition(PARTITION)
        assert (stored.coverage, stored.rows.num_rows) == (COVERAGE, 0)
        assert stored.rows.schema.equals(OHLCV_SCHEMA)

    async def test_every_write_makes_a_new_version_that_the_next_write_may_build_on(self, storage):
        stored, versions = StoredPartition.empty(PARTITION), set()
        for number in range(5):
            stored = await storage.write_partition(replace(stored, rows=minute_bars([number])))
            versions.add(stored.version)

        assert len(versions) == 5
        assert_same_rows((await storage.read_partition(PARTITION)).rows, minute_bars([4]))

    async def test_a_version_stays_while_nothing_is_written(self, storage, twin):
        await storage.write_partition(replace(StoredPartition.empty(PARTITION), rows=minute_bars([0])))
        before = await storage.read_partition(PARTITION)

        await twin.save_bulk_entries(series("ETH/USDT"), minute_bars([0]))
        await twin.write_facts(MINUTES, FACTS)

        assert (await storage.read_partition(PARTITION)).version == before.version

    async def test_a_write_over_a_stale_version_is_a_conflict_and_changes_nothing(self, storage, twin, around):
        first = await storage.write_partition(replace(StoredPartition.empty(PARTITION), rows=minute_bars([0])))
        second = await twin.write_partition(replace(first, rows=minute_bars([0, 1])))
        content = around.read(around.path_of(self.part_end))

        with pytest.raises(VersionConflictError):
            await storage.write_partition(replace(first, rows=minute_bars([0, 2])))

        assert around.read(around.path_of(self.part_end)) == content
        assert (await storage.read_partition(PARTITION)).version == second.version

    async def test_a_partition_created_twice_keeps_its_first_content(self, storage, twin, around):
        await storage.write_partition(replace(StoredPartition.empty(PARTITION), rows=minute_bars([0])))
        content = around.read(around.path_of(self.part_end))

        with pytest.raises(VersionConflictError):
            await twin.write_partition(replace(StoredPartition.empty(PARTITION), rows=minute_bars([1])))

        assert around.read(around.path_of(self.part_end)) == content

    async def test_a_write_over_a_version_of_which_the_object_is_gone_is_a_conflict(self, storage):
        vanished = replace(StoredPartition.empty(PARTITION), version="no such version")

        with pytest.raises(VersionConflictError):
            await storage.write_partition(vanished)

    async def test_of_many_who_create_a_partition_at_once_one_wins(self, storage, twin):
        empty = StoredPartition.empty(PARTITION)
        writes = [
            (storage, twin)[number % 2].write_partition(replace(empty, rows=minute_bars([number])))
            for number in range(8)
        ]

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
                for number in range(12)
            )
        )

        stored = await storage.read_partition(PARTITION)
        assert_same_rows(stored.rows, minute_bars([*range(12), *range(100, 112)]))
        assert stored.coverage == Coverage((held(0, 12), held(100, 112)))

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

    # --- Survival ---

    async def test_a_write_that_fails_leaves_the_old_object_and_nothing_else(self, storage, around):
        stored = await storage.write_partition(replace(StoredPartition.empty(PARTITION), rows=minute_bars([0])))
        objects = {path: around.read(path) for path in around.paths()}

        with around.failing_writes(), pytest.raises(StorageUnavailableError):
            await storage.write_partition(replace(stored, rows=minute_bars(range(9))))

        assert {path: around.read(path) for path in around.paths()} == objects
        assert await storage.read_partition(PARTITION) == replace(stored, rows=minute_bars([0]))

    async def test_a_first_write_that_fails_leaves_nothing(self, storage, around):
        with around.failing_writes(), pytest.raises(StorageUnavailableError):
            await storage.save_bulk_entries(MINUTES, minute_bars([0]))

        assert around.paths() == []
        assert await storage.list_coins("binance") == []

    async def test_writing_goes_on_after_a_failure(self, storage, around):
        with around.failing_writes(), pytest.raises(StorageUnavailableError):
            await storage.save_bulk_entries(MINUTES, minute_bars([0]))

        await storage.save_bulk_entries(MINUTES, minute_bars([0]))

        assert await storage.get_latest_timestamp(MINUTES) == minute(0)

    @pytest.mark.parametrize(
        "damage", ["emptied", "cut short", "cut at the front", "overwritten", "garbage at the end"]
    )
    async def test_a_damaged_partition_is_corrupt_never_empty_or_wrong(self, storage, around, damage):
        await storage.write_partition(StoredPartition(PARTITION, minute_bars(range(50)), COVERAGE))
        path = around.path_of(self.part_end)
        data = around.read(path)
        damaged = {
            "emptied": b"",
            "cut short": data[: len(data) // 2],
            "cut at the front": data[7:],
            "overwritten": data[:500] + bytes(100) + data[600:],
            "garbage at the end": data + b"garbage",
        }
        around.write(path, damaged[damage])

        for read in (
            storage.read_partition(PARTITION),
            storage.get_range(MINUTES, minutes(0, 1)),
            storage.get_latest_timestamp(MINUTES),
            storage.save_bulk_entries(MINUTES, minute_bars([0])),
        ):
            with pytest.raises(CorruptObjectError) as caught:
                await read
            assert caught.value.details["path"] == path
        assert around.read(path) == damaged[damage]

    @pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"cb_trade.format": 2, "market_id": "BTCUSDT"}'])
    async def test_damaged_facts_are_corrupt(self, storage, around, data):
        await storage.write_facts(MINUTES, FACTS)
        around.write(around.path_of("_series.json"), data)

        with pytest.raises(CorruptObjectError):
            await storage.read_facts(MINUTES)

    async def test_the_object_of_one_partition_is_no_partition_of_another_series(self, storage, around):
        """A stranger's file in the folder is passed over."""
        await storage.save_bulk_entries(MINUTES, minute_bars([0]))
        path = around.path_of(self.part_end)
        folder = path.rsplit("/", 3)[0]
        around.write(f"{folder}/notes.txt", b"hello")
        around.write(f"{folder}/year=abc/month=01/{path.rsplit('/', 1)[1]}", b"hello")

        assert await storage.get_latest_timestamp(MINUTES) == minute(0)
        assert await storage.list_coins("binance") == ["BTC/USDT"]

    # --- Is it there at all ---

    async def test_the_check_passes_before_and_after_anything_is_stored(self, storage, twin):
        await storage.check()
        await storage.save_bulk_entries(MINUTES, minute_bars([0]))
        await asyncio.gather(storage.check(), twin.check(), storage.check(), twin.check())

        assert await storage.list_coins("binance") == ["BTC/USDT"]

    async def test_the_check_fails_when_nothing_can_be_written(self, storage, around):
        await storage.check()

        with around.failing_writes(), pytest.raises(StorageUnavailableError):
            await storage.check()

        await storage.check()
