"""What is saved can be found and read: the verbs of every IRawDataStorage, whatever the place and the layout."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pyarrow as pa
import pytest
from storage_samples import COVERAGE, EMPTY, FACTS, MINUTES, PARTITION, held, known, known_stretch, write
from storage_under_test import StorageUnderTest
from unit_builders import assert_same_rows, bars, minute, minute_bars, minutes, series, span, utc

from cb_trade_data.errors import StorageUnavailableError, VersionConflictError
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage import integrity
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.interfaces import MAX_RACES
from cb_trade_data.storage.stored_partition import StoredPartition

ODD_SYMBOLS = [
    "BTC/USDT:USDT", "BTC/USD:BTC-240329-70000-C", "1000PEPE/USDT", "币安人生/USDT", "Ünï/çödé", "..", ".", ".hidden",
    "../../etc/passwd", "/", "a/../b", "50%/USDT", "%2F", "a b", " ", "a=b", "symbol=x", "a\\b", "con", "~", "*", "😀",
    "$PEOPLE/USDT", "a+b", "a&b", "a#b", "a?b", "'", '"', "part.parquet", "_series.json", "x" * 64, "/" * 64,
]  # fmt: skip


class VerbsContract(StorageUnderTest):
    """Saving, reading and listing, and whether it is there at all."""

    # --- Nothing there ---

    async def test_reading_where_nothing_is_stored_finds_nothing_and_makes_nothing(self, storage, around):
        assert await storage.read_partition(PARTITION) == StoredPartition.empty(PARTITION)
        assert await storage.read_facts(MINUTES) is None
        assert await storage.get_latest_timestamp(MINUTES) is None
        assert await storage.list_coins("binance") == []
        assert await storage.list_series() == {}
        assert await storage.list_partitions(MINUTES) == []
        assert not await storage.check_coin_exists("binance", "BTC/USDT")
        assert_same_rows(await storage.get_range(MINUTES, minutes(0, 9)), minute_bars([]))
        assert around.paths() == []

    # --- The six verbs ---

    async def test_saved_rows_can_be_read_by_others(self, storage, around):
        rows = minute_bars([0, 1])

        await storage.save_bulk_entries(MINUTES, rows)

        assert_same_rows(self.form.rows(around), rows)

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

    async def test_saving_rows_is_given_up_when_every_race_for_the_partition_is_lost(self, storage, monkeypatch):
        """Versions that never match are a defect of the place, not a busy neighbour."""
        tries = 0

        async def lose(stored: StoredPartition, fresh: pa.Table) -> StoredPartition:
            nonlocal tries
            tries += 1
            assert tries <= MAX_RACES
            raise VersionConflictError(str(stored.partition))

        monkeypatch.setattr(storage, "write_partition", lose)
        with pytest.raises(StorageUnavailableError, match="races"):
            await storage.save_bulk_entries(MINUTES, minute_bars([0]))

        assert tries == MAX_RACES

    async def test_saving_no_rows_stores_nothing(self, storage, around):
        await storage.save_bulk_entries(MINUTES, minute_bars([]))

        assert around.paths() == []

    async def test_rows_of_several_partitions_are_kept_apart_and_read_together(self, storage, around):
        opens = [utc("2023-12-31T23:58"), utc("2023-12-31T23:59"), utc("2024-01-01"), utc("2024-02-29T23:59")]

        await storage.save_bulk_entries(MINUTES, bars(opens))

        assert sum(path.endswith(self.form.commit_end) for path in around.paths()) == 3
        assert_same_rows(self.form.rows(around), bars(opens))
        assert_same_rows(await storage.get_range(MINUTES, span("2023-12-01", "2024-04-01")), bars(opens))

    async def test_a_range_includes_its_start_and_excludes_its_end(self, storage):
        await storage.save_bulk_entries(MINUTES, minute_bars(range(10)))

        assert_same_rows(await storage.get_range(MINUTES, minutes(2, 5)), minute_bars([2, 3, 4]))

    @pytest.mark.parametrize("timeframe", ["1s", "1m", "1h", "1d", "1w", "1M", "3M"])
    async def test_bars_of_every_length_are_found_again(self, storage, timeframe):
        of = series(timeframe=timeframe)
        opens = [of.grid.advance(utc("2023-12-25"), number) for number in range(6)]

        await storage.save_bulk_entries(of, bars(opens))

        whole = TimeRange(opens[0], of.grid.advance(opens[-1], 1))
        assert_same_rows(await storage.get_range(of, whole), bars(opens))
        assert await storage.get_latest_timestamp(of) == opens[-1]
        stored = await storage.read_partition(partition_at(of, opens[-1]))
        assert [segment.range.end for segment in stored.coverage.segments] == [of.grid.bar(opens[-1]).end]

    async def test_the_latest_timestamp_is_that_of_the_newest_row_of_all_partitions(self, storage):
        await storage.save_bulk_entries(MINUTES, bars([utc("2023-12-31T23:59"), utc("2024-02-01"), utc("2024-01-31")]))

        assert await storage.get_latest_timestamp(MINUTES) == utc("2024-02-01")

    async def test_the_latest_timestamp_passes_over_partitions_that_hold_no_row(self, storage):
        await storage.save_bulk_entries(MINUTES, bars([utc("2023-12-31T23:59")]))
        await write(storage, replace(EMPTY, coverage=COVERAGE))

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

    async def test_series_are_listed_once_sorted_by_their_text(self, storage):
        stored = [
            series("BTC/USDT"),
            series("BTC/USDT", "1M"),
            series("BTC/USDT", "1h"),
            series("ETH/USDT"),
            series("SOL/USDT", exchange="okx"),
        ]
        for of in reversed(stored):
            await storage.save_bulk_entries(of, bars([utc("2024-01-01"), utc("2024-02-01")]))

        by_text = sorted(stored, key=str)
        assert list(await storage.list_series()) == by_text
        assert list(await storage.list_series("binance")) == by_text[:-1]
        assert list(await storage.list_series("okx")) == by_text[-1:]
        assert await storage.list_series("bin") == {}

    async def test_the_partitions_of_a_series_are_listed_oldest_first(self, storage):
        opens = [utc("2024-02-01"), utc("2023-12-31"), utc("2024-10-01")]
        await storage.save_bulk_entries(MINUTES, bars(opens))
        await storage.save_bulk_entries(series("BTC/USDT:USDT"), bars([utc("2020-01-01")]))

        partitions = [partition_at(MINUTES, each) for each in sorted(opens)]
        assert await storage.list_partitions(MINUTES) == partitions
        assert (await storage.list_series())[MINUTES] == partitions

    async def test_facts_alone_do_not_make_a_series(self, storage):
        await storage.write_facts(MINUTES, FACTS)

        assert await storage.list_series() == {}
        assert await storage.list_partitions(MINUTES) == []

    async def test_facts_alone_do_not_make_a_coin(self, storage):
        await storage.write_facts(MINUTES, FACTS)

        assert await storage.list_coins("binance") == []
        assert not await storage.check_coin_exists("binance", "BTC/USDT")
        assert await storage.get_latest_timestamp(MINUTES) is None

    async def test_a_symbol_may_be_as_odd_as_it_likes(self, storage, around):
        """All of them side by side: none is taken for another, nor lies anywhere else."""
        odd = {symbol: (series(symbol), number) for number, symbol in enumerate(ODD_SYMBOLS)}
        for of, number in odd.values():
            await storage.save_bulk_entries(of, minute_bars([number]))
            await storage.write_facts(of, FACTS)

        assert await storage.list_coins("binance") == sorted(odd)
        assert await storage.check_coin_exists("binance", "../../etc/passwd")
        assert set(await storage.list_series()) == {of for of, _ in odd.values()}
        for symbol, (of, number) in odd.items():
            assert await storage.get_latest_timestamp(of) == minute(number), symbol
            assert_same_rows(await storage.get_range(of, minutes(0, len(odd))), minute_bars([number]))
            assert replace(await storage.read_facts(of), version=None) == FACTS, symbol
        assert all(path.startswith(self.form.root) for path in around.paths())

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

    async def test_the_object_of_one_partition_is_no_partition_of_another_series(self, storage, around):
        """A stranger's file in the folder is passed over."""
        await storage.save_bulk_entries(MINUTES, minute_bars([0]))
        path = around.path_of(self.form.commit_end)
        folder = path.rsplit("/", 3)[0]
        around.write(f"{folder}/notes.txt", b"hello")
        around.write(f"{folder}/year=abc/month=01/{path.rsplit('/', 1)[1]}", b"hello")

        assert await storage.get_latest_timestamp(MINUTES) == minute(0)
        assert await storage.list_coins("binance") == ["BTC/USDT"]

    # --- Parts and checksums ---

    @pytest.mark.parametrize(
        "wanted",
        [
            minutes(0, 1),
            minutes(1, 3),
            minutes(2, 1442),
            minutes(1442, 1443),
            minutes(1441.5, 1442.5),
            minutes(500, 600),
            minutes(2881, 9999),
            minutes(-9999, 9999),
            minutes(5000, 5001),
        ],
        ids=str,
    )
    async def test_a_part_that_is_read_has_all_its_rows_and_the_whole_coverage(self, storage, twin, wanted):
        """Three UTC days, with a border after minutes 1 and 1441."""
        numbers = [0, 1, 2, 3, 700, 1441, 1442, 1443, 2880, 2881]
        unsettled = Segment(minutes(3000, 3010), State.EMPTY, minute(4000), asks=1)
        stored = known(numbers)
        stored = replace(stored, coverage=stored.coverage.with_segments([unsettled]))
        written = await write(storage, stored)

        for reader in (storage, twin):
            part = await reader.read_partition(PARTITION, wanted)

            inside = [number for number in numbers if wanted.start <= minute(number) < wanted.end]
            assert_same_rows(part.rows_in(wanted).combine_chunks(), minute_bars(inside))
            assert (part.coverage, part.version) == (stored.coverage, written.version)

    @pytest.fixture
    def checksums(self, monkeypatch) -> list[str]:
        """The checksums that readers have computed."""
        computed: list[str] = []
        real = integrity.rows_checksum

        def counted(rows: pa.Table) -> str:
            computed.append(real(rows))
            return computed[-1]

        monkeypatch.setattr(integrity, "rows_checksum", counted)
        return computed

    @pytest.mark.parametrize(("verb", "number"), [("get_latest_timestamp", -1), ("get_first_timestamp", 0)])
    async def test_the_edges_of_a_series_are_read_from_one_batch_of_it(self, storage, checksums, verb, number):
        numbers = self.form.numbers_of_two_batches
        await write(storage, known_stretch(numbers))

        assert await getattr(storage, verb)(MINUTES) == minute(numbers[number])
        assert len(checksums) == 1

    @pytest.mark.parametrize("verb", ["get_latest_timestamp", "get_first_timestamp"])
    async def test_a_series_with_nothing_but_coverage_has_no_edges(self, storage, verb):
        await write(storage, replace(EMPTY, coverage=COVERAGE))

        assert await getattr(storage, verb)(MINUTES) is None

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
