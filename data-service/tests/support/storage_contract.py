"""What every IRawDataStorage promises, whatever the place and the layout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import pyarrow as pa
import pytest
from storage_around import Around, Form
from structlog.testing import capture_logs
from unit_builders import assert_same_rows, bars, epoch_ms, minute, minute_bars, minutes, series, span, table, utc

from cb_trade_data.errors import ErrorCode, NewerFormatError, StorageUnavailableError, VersionConflictError
from cb_trade_data.models.digest import unit_digests
from cb_trade_data.models.market import OHLCV_SCHEMA, upsert
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage import integrity
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.interfaces import MAX_RACES, IRawDataStorage
from cb_trade_data.storage.layouts import StoredObject
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.object_storage import ObjectStorage
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

MINUTES = series()
PARTITION = partition_at(MINUTES, minute(0))
EMPTY = StoredPartition.empty(PARTITION)
FACTS = SeriesFacts("BTCUSDT", utc("2017-08-17T04:00"), utc("2024-02-29"))

COVERAGE = Coverage(
    (
        Segment(minutes(0, 3), State.HELD),
        Segment(minutes(3, 5), State.EMPTY, minute(90), asks=2),
        Segment(minutes(5, 6), State.FAILED, minute(91), reason="HTTP 503: “overloaded” \\ \x00"),
    )
)

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "cut at the front": lambda data: data[7:],
    "overwritten": lambda data: data[: len(data) // 4] + bytes(len(data) // 4) + data[len(data) // 4 * 2 :],
    "garbage at the end": lambda data: data + b"garbage",
    "another one's": lambda data: b"{}",
}

ODD_SYMBOLS = [
    "BTC/USDT:USDT", "BTC/USD:BTC-240329-70000-C", "1000PEPE/USDT", "币安人生/USDT", "Ünï/çödé", "..", ".", ".hidden",
    "../../etc/passwd", "/", "a/../b", "50%/USDT", "%2F", "a b", " ", "a=b", "symbol=x", "a\\b", "con", "~", "*", "😀",
    "$PEOPLE/USDT", "a+b", "a&b", "a#b", "a?b", "'", '"', "part.parquet", "_series.json", "x" * 64, "/" * 64,
]  # fmt: skip


def held(first: int, end: int) -> Segment:
    return Segment(minutes(first, end), State.HELD)


def known(numbers: Iterable[int], price: float = 100.0, base: StoredPartition = EMPTY) -> StoredPartition:
    """Return *base* with these minutes for rows, and the knowledge that it holds them."""
    numbers = list(numbers)
    coverage = Coverage().with_segments(held(number, number + 1) for number in numbers)
    return replace(base, rows=minute_bars(numbers, price), coverage=coverage)


def known_apart(numbers: range) -> StoredPartition:
    """Return these minutes, no two of which touch, for rows, each with a segment of its own."""
    segments = tuple(held(number, number + 1) for number in numbers)
    return replace(EMPTY, rows=minute_bars(numbers), coverage=Coverage(segments))


def restated(base: StoredPartition, numbers: Iterable[int], price: float = 700.0) -> StoredPartition:
    """Return *base* with other values for the rows of these minutes."""
    return replace(base, rows=upsert(base.rows, minute_bars(numbers, price)))


def known_stretch(numbers: range) -> StoredPartition:
    return replace(EMPTY, rows=minute_bars(numbers), coverage=Coverage((held(numbers.start, numbers.stop),)))


def overtaken(storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """Let reads of a commit find so many other ones first, each of its own version and unreadable by now.

    Returns:
        What was read so far: "other", and "own" afterwards.
    """
    reads: list[str] = []
    read_object = storage.read_object

    async def read(path: str, work: Callable[[StoredObject], object]) -> object:
        if len(reads) < times:
            reads.append("other")
            return work(StoredObject(path, pa.py_buffer(b"of the past"), f"version {len(reads)}"))
        reads.append("own")
        return await read_object(path, work)

    monkeypatch.setattr(storage, "read_object", read)
    return reads


async def write(storage: IRawDataStorage, stored: StoredPartition) -> StoredPartition:
    """Write the partition, all of its rows as fresh ones."""
    return await storage.write_partition(stored, stored.rows)


class StorageContract:
    """A storage's test class inherits this and supplies its form (the layout, seen from outside) and three fixtures."""

    form: Form

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

    # --- Survival ---

    async def test_a_write_that_fails_leaves_the_old_object_and_nothing_else(self, storage, around):
        stored = await write(storage, known([0]))
        objects = {path: around.read(path) for path in around.paths()}

        with around.failing_writes(), pytest.raises(StorageUnavailableError):
            await write(storage, known(range(9), base=stored))

        assert {path: around.read(path) for path in around.paths()} == objects
        read = await storage.read_partition(PARTITION)
        assert_same_rows(read.rows, minute_bars([0]))
        assert (read.coverage, read.version) == (stored.coverage, stored.version)

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

    @pytest.mark.parametrize("damage", DAMAGES)
    async def test_a_damaged_partition_is_set_aside_counted_and_not_there_any_more(self, storage, around, damage):
        """Never streamed, never deleted without a copy."""
        await write(storage, StoredPartition(PARTITION, minute_bars(range(3)), COVERAGE))
        path = around.path_of(self.form.commit_end)
        damaged = DAMAGES[damage](around.read(path))
        around.write(path, damaged)

        with capture_logs() as logs:
            assert await storage.read_partition(PARTITION) == EMPTY

        (copy,) = [path for path in around.paths() if path.startswith("_damaged/")]
        assert copy.startswith(f"_damaged/{path}.")
        assert around.read(copy) == damaged
        assert path not in around.paths()
        assert storage.damaged_objects == 1
        (line,) = [line for line in logs if line["event"] == "storage.damaged"]
        assert (line["code"], line["log_level"]) == (ErrorCode.CORRUPT_OBJECT, "error")
        assert (line["path"], line["set_aside_as"]) == (path, copy)

    async def test_what_was_set_aside_is_no_object_and_is_reported_once(self, storage, around):
        await write(storage, known([0]))
        path = around.path_of(self.form.commit_end)
        around.write(path, b"garbage")

        await storage.read_partition(PARTITION)
        after = around.content()

        assert await storage.read_partition(PARTITION) == EMPTY
        assert await storage.list_coins("binance") == []
        assert await storage.get_latest_timestamp(MINUTES) is None
        assert around.content() == after
        assert storage.damaged_objects == 1

    @pytest.mark.parametrize("verb", ["get_range", "get_latest_timestamp", "save_bulk_entries"])
    async def test_every_verb_takes_a_damaged_partition_for_a_missing_one(self, storage, around, verb):
        await write(storage, known(range(3)))
        around.write(around.path_of(self.form.commit_end), b"garbage")

        match verb:
            case "get_range":
                assert (await storage.get_range(MINUTES, minutes(0, 9))).num_rows == 0
            case "get_latest_timestamp":
                assert await storage.get_latest_timestamp(MINUTES) is None
            case _:
                await storage.save_bulk_entries(MINUTES, minute_bars([7]))
                assert_same_rows(await storage.get_range(MINUTES, minutes(0, 9)), minute_bars([7]))

        assert storage.damaged_objects == 1
        assert [around.read(path) for path in around.paths() if path.startswith("_damaged/")] == [b"garbage"]

    async def test_what_was_damaged_can_be_fetched_again(self, storage, twin, around):
        await write(storage, known(range(3)))
        path = around.path_of(self.form.commit_end)

        for count in (1, 2):  # the same damage twice: the copy is there already
            around.write(path, b"garbage")
            again = await write(storage, known(range(3), base=await storage.read_partition(PARTITION)))

            assert again.coverage == Coverage((held(0, 3),))
            assert_same_rows((await twin.read_partition(PARTITION)).rows.combine_chunks(), minute_bars(range(3)))
            assert storage.damaged_objects == count

    async def test_damage_that_cannot_be_copied_stays_where_it_is(self, storage, around):
        await write(storage, known([0]))
        path = around.path_of(self.form.commit_end)
        around.write(path, b"garbage")

        with around.failing_writes(), pytest.raises(StorageUnavailableError):
            await storage.read_partition(PARTITION)

        assert around.read(path) == b"garbage"

    async def test_what_a_neighbour_has_repaired_meanwhile_is_not_removed(self, storage, twin, around, monkeypatch):
        """The damaged version goes; the version that took its place stays."""
        await write(storage, known([0]))
        path = around.path_of(self.form.commit_end)
        good = around.read(path)
        around.write(path, b"garbage")
        delete = type(storage).delete_object

        async def repaired_first(self, path: str, version: str) -> None:
            around.write(path, good)
            await delete(self, path, version)

        with monkeypatch.context() as patch:
            patch.setattr(type(storage), "delete_object", repaired_first)
            await storage.read_partition(PARTITION)

        assert around.read(path) == good
        assert_same_rows((await twin.read_partition(PARTITION)).rows, minute_bars([0]))

    @pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"cb_trade.format": 1}'])
    async def test_damaged_facts_are_set_aside_and_can_be_written_anew(self, storage, around, data):
        await storage.write_facts(MINUTES, FACTS)
        path = around.path_of("/_series.json")
        around.write(path, data)

        with capture_logs() as logs:
            assert await storage.read_facts(MINUTES) is None

        (copy,) = around.paths()
        assert copy.startswith(f"_damaged/{path}.")
        assert around.read(copy) == data
        assert [line["code"] for line in logs if line["event"] == "storage.damaged"] == [ErrorCode.CORRUPT_OBJECT]
        assert storage.damaged_objects == 1
        await storage.write_facts(MINUTES, FACTS)
        assert replace(await storage.read_facts(MINUTES), version=None) == FACTS

    # --- Objects of a later release ---

    @pytest.mark.parametrize("verb", ["read_partition", "get_range", "get_latest_timestamp", "save_bulk_entries"])
    async def test_a_partition_of_a_later_format_is_refused_and_left_alone(self, storage, around, verb):
        """It is neither damage nor nothing: an older release beside a newer one, or after it, loses no rows."""
        await write(storage, known(range(3)))
        path = around.path_of(self.form.commit_end)
        around.write(path, self.form.of_a_later_format(around.read(path)))
        before = around.content()
        arguments = {
            "read_partition": (PARTITION,),
            "get_range": (MINUTES, minutes(0, 9)),
            "get_latest_timestamp": (MINUTES,),
            "save_bulk_entries": (MINUTES, minute_bars([7])),
        }

        with pytest.raises(NewerFormatError, match=r"format 2.*upgrade") as refused:
            await getattr(storage, verb)(*arguments[verb])

        assert (refused.value.code, refused.value.details["path"]) == (ErrorCode.NEWER_FORMAT, path)
        assert around.content() == before
        assert storage.damaged_objects == 0
        assert await storage.check_coin_exists("binance", "BTC/USDT")

    async def test_a_partition_of_a_later_format_is_not_written_over(self, storage, twin, around):
        """Nor by somebody who read it before it was upgraded."""
        old = await write(storage, known(range(3)))
        path = around.path_of(self.form.commit_end)
        around.write(path, self.form.of_a_later_format(around.read(path)))
        later = around.read(path)

        for base in (old, EMPTY):
            with pytest.raises(VersionConflictError):
                await write(twin, known([7], base=base))
            with pytest.raises(NewerFormatError):
                await StorageManagerImpl(twin).commit(base, [Change(minute_bars([7]), (held(7, 8),))])

        assert around.read(path) == later

    async def test_facts_of_a_later_format_are_refused_and_left_alone(self, storage, around):
        await storage.write_facts(MINUTES, FACTS)
        path = around.path_of("/_series.json")
        around.write(path, b'{"cb_trade.format": 2}')

        with pytest.raises(NewerFormatError):
            await storage.read_facts(MINUTES)
        with pytest.raises(NewerFormatError):
            await StorageManagerImpl(storage).commit_facts(MINUTES, FACTS)

        assert around.content() == {path: b'{"cb_trade.format": 2}'}
        assert storage.damaged_objects == 0

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

    # --- Reads that a commit overtakes ---

    async def test_damage_is_believed_only_if_nothing_was_committed_meanwhile(self, storage, around, monkeypatch):
        written = await write(storage, known(range(3)))
        commits = overtaken(storage, monkeypatch, times=2)

        assert_same_rows((await storage.read_partition(PARTITION)).rows.combine_chunks(), written.rows)
        assert commits.count("other") == 2
        assert storage.damaged_objects == 0
        assert around.path_of(self.form.commit_end)

    async def test_a_read_that_is_overtaken_again_and_again_fails_and_sets_nothing_aside(
        self, storage, around, monkeypatch
    ):
        await write(storage, known(range(3)))
        content = around.content()
        overtaken(storage, monkeypatch, times=1000)

        with pytest.raises(StorageUnavailableError):
            await storage.read_partition(PARTITION)

        assert around.content() == content
        assert storage.damaged_objects == 0

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

    async def test_the_object_of_one_partition_is_no_partition_of_another_series(self, storage, around):
        """A stranger's file in the folder is passed over."""
        await storage.save_bulk_entries(MINUTES, minute_bars([0]))
        path = around.path_of(self.form.commit_end)
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


class SingleObjectContract(StorageContract):
    """What the layouts promise besides that keep a partition in one object."""

    async def test_rows_are_checked_once_for_each_version_of_their_object(self, storage, twin, checksums):
        stored = await write(storage, known(range(2, 5)))
        for _ in range(3):
            await storage.read_partition(PARTITION)
        await storage.get_range(MINUTES, minutes(2, 4))
        assert len(checksums) == 1

        await write(twin, known(range(2, 6), base=stored))
        for _ in range(3):
            await storage.read_partition(PARTITION)
        assert len(checksums) == 2

        await twin.read_partition(PARTITION)
        assert len(checksums) == 3, "another storage trusts nobody"
