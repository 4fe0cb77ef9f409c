from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from event_samples import (
    DAY_PARTITION,
    FUNDING_PARTITION,
    STORED_FUNDING,
    TRADES,
    holding,
    many_trades,
    span_ms,
    trades,
)
from structlog.testing import capture_logs
from unit_builders import assert_same_rows, minute, minute_bars, minutes, series, utc

from cb_trade_data.errors import StorageUnavailableError, VersionConflictError
from cb_trade_data.models.partition import partition_at
from cb_trade_data.storage import stored_partition
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, Outline, StoredPartition

SERIES = series()
PARTITION = partition_at(SERIES, minute(0))
EMPTY = StoredPartition.empty(PARTITION)
FACTS = SeriesFacts("BTCUSDT")


class TroubledStorage(LocalFileStorage):
    """The real storage, with something happening before each write."""

    before_write: Callable[[], Awaitable[None]] | None = None
    writes = 0

    async def write_partition(self, stored: StoredPartition, fresh: pa.Table) -> StoredPartition:
        await self._trouble()
        self.fresh = fresh
        return await super().write_partition(stored, fresh)

    async def write_facts(self, series, facts):
        await self._trouble()
        return await super().write_facts(series, facts)

    async def _trouble(self) -> None:
        self.writes += 1
        if self.before_write is not None:
            await self.before_write()


@pytest.fixture
def storage(tmp_path) -> TroubledStorage:
    return TroubledStorage(tmp_path, ParquetLayout())


@pytest.fixture
def other(tmp_path) -> LocalFileStorage:
    """Another process."""
    return LocalFileStorage(tmp_path, ParquetLayout())


@pytest.fixture
def manager(storage) -> StorageManagerImpl:
    return StorageManagerImpl(storage)


def held(first: int, end: int, price: float = 100.0) -> Change:
    return Change(minute_bars(range(first, end), price), (Segment(minutes(first, end), State.HELD),))


def raising(error: Exception) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


async def test_changes_are_stored_on_top_of_their_base(manager, other):
    base = await manager.commit(EMPTY, [held(0, 2)])

    outcome = await manager.commit(base, [held(2, 3), held(3, 5)])

    stored = await other.read_partition(PARTITION)
    assert_same_rows(stored.rows, minute_bars(range(5)))
    assert stored.coverage == outcome.coverage == Coverage((Segment(minutes(0, 5), State.HELD),))
    assert stored.version == outcome.version
    assert (await manager.read(PARTITION)).version == outcome.version


async def test_changes_are_applied_in_order(manager):
    outcome = await manager.commit(EMPTY, [held(0, 2, price=100), held(1, 2, price=700)])

    assert_same_rows(outcome.rows_in(minutes(1, 2)).combine_chunks(), minute_bars([1], price=700))


async def test_storage_is_told_which_rows_it_does_not_have_yet(manager, storage, other):
    """After a lost race, too: what the other one wrote is no news."""
    base = await manager.commit(EMPTY, [held(0, 2)])
    await other.save_bulk_entries(SERIES, minute_bars([10]))

    await manager.commit(base, [held(2, 4), held(3, 5, price=700)])

    expected = [minute_bars([2]), minute_bars([3, 4], price=700)]
    assert_same_rows(storage.fresh.combine_chunks(), pa.concat_tables(expected).combine_chunks())


async def test_rows_that_came_again_as_they_are_stored_are_no_news(manager, storage):
    base = await manager.commit(EMPTY, [held(0, 4)])

    await manager.commit(base, [held(0, 2), held(2, 3, price=700)])

    assert_same_rows(storage.fresh.combine_chunks(), minute_bars([2], price=700))


async def test_rows_that_come_again_with_other_values_are_counted_and_the_last_ones_count(manager, other):
    """By whomever the first ones were stored; what comes again as it was is no news."""
    base = await manager.commit(EMPTY, [held(0, 3)])
    await other.save_bulk_entries(SERIES, minute_bars([10, 11]))
    assert manager.counts["restated_rows"] == 0

    with capture_logs() as logs:
        base = await manager.commit(base, [held(1, 4), held(2, 3, price=700), held(11, 13, price=700)])
        await manager.commit(base, [held(0, 4), held(2, 3, price=700)])

    assert manager.counts["restated_rows"] == 2
    assert [line["rows"] for line in logs if line["event"] == "storage.restated"] == [2]
    stored = await other.read_partition(PARTITION)
    parts = [minute_bars([0, 1]), minute_bars([2], 700.0), minute_bars([3, 10]), minute_bars([11, 12], 700.0)]
    assert_same_rows(stored.rows.combine_chunks(), pa.concat_tables(parts).combine_chunks())


async def test_what_another_writer_stored_meanwhile_is_kept(manager, storage, other):
    base = await manager.commit(EMPTY, [held(0, 2)])
    await other.save_bulk_entries(SERIES, minute_bars([10, 11]))
    storage.writes = 0

    outcome = await manager.commit(base, [held(2, 4)])

    assert storage.writes == 2
    assert_same_rows(outcome.rows.combine_chunks(), minute_bars([0, 1, 2, 3, 10, 11]))
    assert outcome.coverage == Coverage((Segment(minutes(0, 4), State.HELD), Segment(minutes(10, 12), State.HELD)))
    assert_same_rows((await other.read_partition(PARTITION)).rows, minute_bars([0, 1, 2, 3, 10, 11]))


async def test_a_stale_failure_does_not_take_back_what_another_writer_fetched(manager, other):
    await other.save_bulk_entries(SERIES, minute_bars([0, 1]))
    failed = Segment(minutes(0, 4), State.FAILED, minute(9), reason="timeout")

    outcome = await manager.commit(EMPTY, [Change(minute_bars([]), (failed,))])

    assert outcome.coverage == Coverage((Segment(minutes(0, 2), State.HELD), replace(failed, range=minutes(2, 4))))
    assert_same_rows(outcome.rows, minute_bars([0, 1]))


async def test_several_lost_races_in_a_row_are_won_in_the_end(manager, storage, other):
    lost = 0

    async def race() -> None:
        nonlocal lost
        if lost < 5:
            await other.save_bulk_entries(SERIES, minute_bars([100 + lost]))
            lost += 1

    storage.before_write = race

    await manager.commit(EMPTY, [held(0, 2)])

    stored = await other.read_partition(PARTITION)
    assert_same_rows(stored.rows, minute_bars([0, 1, *range(100, 105)]))
    assert (manager.problem, manager.counts["failed_writes"]) == (None, 0)


async def test_races_that_are_lost_for_ever_end_as_unavailable_storage(manager, storage):
    """Versions that never match are a defect of the place, not a busy neighbour."""
    storage.before_write = raising(VersionConflictError("part"))

    with pytest.raises(StorageUnavailableError, match="races"):
        await manager.commit(EMPTY, [held(0, 1)])
    with pytest.raises(StorageUnavailableError, match="races"):
        await manager.commit_facts(SERIES, FACTS)

    assert manager.counts["failed_writes"] == 2
    assert "races" in manager.problem


async def test_a_failure_to_store_is_raised_counted_and_visible(manager, storage):
    error = StorageUnavailableError("part", "disk full")
    storage.before_write = raising(error)

    for count in (1, 2):
        with pytest.raises(type(error)) as caught:
            await manager.commit(EMPTY, [held(0, 1)])
        assert caught.value is error
        assert manager.counts["failed_writes"] == count
        assert manager.problem == str(error)


async def test_a_failure_to_store_facts_counts_as_well(manager, storage):
    storage.before_write = raising(StorageUnavailableError("facts", "disk full"))

    with pytest.raises(StorageUnavailableError):
        await manager.commit_facts(SERIES, FACTS)

    assert manager.counts["failed_writes"] == 1
    assert "disk full" in manager.problem


async def test_the_last_failure_stays_on_record_after_a_success(manager, storage):
    assert manager.last_error is None
    storage.before_write = raising(StorageUnavailableError("part", "disk full"))
    with pytest.raises(StorageUnavailableError):
        await manager.commit(EMPTY, [held(0, 1)])
    storage.before_write = None
    await manager.commit(EMPTY, [held(0, 1)])

    assert manager.problem is None
    assert "disk full" in manager.last_error.reason
    assert manager.last_error.age_secs >= 0


async def test_a_check_that_fails_is_counted_and_the_newest_failure_is_the_last(manager, storage, monkeypatch):
    storage.before_write = raising(StorageUnavailableError("part", "disk full"))
    with pytest.raises(StorageUnavailableError):
        await manager.commit(EMPTY, [held(0, 1)])
    monkeypatch.setattr(storage, "check", raising(StorageUnavailableError("", "not mounted")))
    with pytest.raises(StorageUnavailableError):
        await manager.check()

    assert (manager.counts["failed_writes"], manager.counts["failed_checks"]) == (1, 1)
    assert "not mounted" in manager.last_error.reason


async def test_it_is_counted_what_memory_was_good_for(storage):
    manager = StorageManagerImpl(storage, cache_max_bytes=2**20)
    await manager.commit(EMPTY, [held(0, 2)])
    trusting = StorageManagerImpl(storage, cache_max_bytes=2**20, recheck_after_secs=3600)

    for _ in range(3):
        await manager.read(PARTITION)
        await trusting.read(PARTITION)

    looking, trusted = manager.cache, trusting.cache
    assert (looking.hits, looking.confirmed, looking.misses) == (0, 2, 1)
    assert (trusted.hits, trusted.confirmed, trusted.misses) == (2, 0, 1)
    assert 0 < looking.size_bytes == trusted.size_bytes < looking.max_bytes == 2**20


@pytest.mark.parametrize("verb", ["commit", "commit_facts"])
async def test_a_later_success_ends_the_problem_and_keeps_the_count(manager, storage, verb):
    storage.before_write = raising(StorageUnavailableError("part", "disk full"))
    with pytest.raises(StorageUnavailableError):
        await manager.commit(EMPTY, [held(0, 1)])

    storage.before_write = None
    await (manager.commit(EMPTY, [held(0, 1)]) if verb == "commit" else manager.commit_facts(SERIES, FACTS))

    assert (manager.problem, manager.counts["failed_writes"]) == (None, 1)


async def test_what_cannot_be_read_is_raised_counted_and_visible_until_something_can(manager, storage, unreadable):
    for count in (1, 2):
        with pytest.raises(StorageUnavailableError, match="Permission denied"):
            await manager.read(PARTITION)
        assert manager.counts["failed_reads"] == count
    assert "Permission denied" in manager.problem

    unreadable.undo()
    assert (await manager.read(PARTITION)).rows.num_rows == 2
    assert (manager.problem, manager.counts["failed_reads"]) == (None, 2)


async def test_whoever_needs_rows_all_the_same_gets_nothing_stored_and_the_failure_is_visible(manager, unreadable):
    assert await manager.read_if_possible(PARTITION) == EMPTY
    assert await manager.facts_if_possible(SERIES) is None

    assert manager.counts["failed_reads"] == 2
    assert "Permission denied" in manager.problem


async def test_what_could_not_be_read_is_not_written_over(manager, unreadable):
    nothing = await manager.read_if_possible(PARTITION)
    with pytest.raises(StorageUnavailableError):
        await manager.commit(nothing, [held(5, 6)])

    unreadable.undo()
    assert (await manager.read(PARTITION)).rows.num_rows == 2

    await manager.commit(nothing, [held(5, 6)])
    assert (await manager.read(PARTITION)).rows.num_rows == 3


@pytest.fixture
async def unreadable(other, monkeypatch):
    """Let two rows and facts be stored that cannot be read, until this is undone."""
    await other.save_bulk_entries(SERIES, minute_bars([0, 1]))
    await other.write_facts(SERIES, FACTS)
    opened = Path.open

    def denied(path, *arguments, **options):
        if path.suffix in {".parquet", ".json"}:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", denied)
        yield patch


async def test_reading_neither_makes_nor_ends_a_problem_of_writing(manager, storage, other, tmp_path):
    storage.before_write = raising(StorageUnavailableError("part", "disk full"))
    with pytest.raises(StorageUnavailableError):
        await manager.commit(EMPTY, [held(0, 1)])

    await manager.read(PARTITION)
    await manager.facts(SERIES)
    await manager.latest_timestamp(SERIES)
    assert manager.problem is not None

    await other.save_bulk_entries(SERIES, minute_bars([0]))
    next(tmp_path.rglob("part.parquet")).write_bytes(b"")
    assert await manager.read(PARTITION) == EMPTY
    assert manager.counts["damaged_objects"] == 1
    assert manager.problem is not None
    assert manager.counts["failed_writes"] == 1


ELSEWHERE = partition_at(series("ETH/USDT"), minute(0))


async def test_a_failure_to_read_stands_until_the_same_can_be_read(manager, other, monkeypatch):
    """That others can be read does not mend it."""
    await other.save_bulk_entries(SERIES, minute_bars([0, 1]))
    opened = Path.open

    def denied(path, *arguments, **options):
        if path.suffix == ".parquet" and "BTC" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", denied)
        for _ in range(2):
            with pytest.raises(StorageUnavailableError):
                await manager.read(PARTITION)
        await manager.read(ELSEWHERE)
        await manager.facts(SERIES)

        assert manager.problem is None
        [standing] = manager.standing_problems
        assert "Permission denied" in standing
    await manager.read(PARTITION)
    assert manager.standing_problems == []


async def test_a_failure_to_write_stands_until_the_same_can_be_written(manager, storage):
    storage.before_write = raising(StorageUnavailableError("part", "disk full"))
    with pytest.raises(StorageUnavailableError):
        await manager.commit(EMPTY, [held(0, 1)])
    with pytest.raises(StorageUnavailableError):
        await manager.commit_facts(SERIES, FACTS)
    storage.before_write = None

    await manager.commit_facts(SERIES, FACTS)
    await manager.commit(StoredPartition.empty(ELSEWHERE), [held(0, 1)])
    await manager.read(PARTITION)
    assert manager.standing_problems == ["storage failed at part: disk full"]

    await manager.commit(EMPTY, [held(0, 1)])
    assert manager.standing_problems == []


async def test_of_very_many_failures_the_newest_are_remembered_and_all_are_counted(manager, storage):
    for number in range(100):
        storage.before_write = raising(StorageUnavailableError(f"part {number}", "disk full"))
        with pytest.raises(StorageUnavailableError):
            await manager.commit_facts(series(f"C{number}/USDT"), FACTS)

    assert manager.counts["failed_writes"] == 100
    assert len(manager.standing_problems) == 20
    assert "part 99" in manager.standing_problems[-1]


async def test_facts_are_stored_and_read(manager):
    assert await manager.facts(SERIES) is None

    written = await manager.commit_facts(SERIES, FACTS)

    assert await manager.facts(SERIES) == written
    assert written.version is not None


async def test_newer_facts_replace_what_another_writer_stored_meanwhile(manager, other):
    await other.write_facts(SERIES, SeriesFacts("OLD"))
    newer = FACTS.with_listing(utc("2017-08-17T04:00"), utc("2024-02-29"))

    written = await manager.commit_facts(SERIES, newer)

    assert await other.read_facts(SERIES) == written
    assert replace(written, version=None) == newer


async def test_a_later_look_at_the_listing_by_another_writer_is_kept(manager, other):
    later = FACTS.with_listing(utc("2017-08-17T04:00"), utc("2024-02-29"))
    await other.write_facts(SERIES, later)

    written = await manager.commit_facts(SERIES, FACTS.with_listing(None, utc("2024-02-28")))

    assert replace(written, version=None) == later
    assert await other.read_facts(SERIES) == written


async def test_the_latest_timestamp_is_that_of_storage(manager):
    assert await manager.latest_timestamp(SERIES) is None

    await manager.commit(EMPTY, [held(0, 3)])

    assert await manager.latest_timestamp(SERIES) == minute(2)


async def test_the_check_is_that_of_storage(tmp_path):
    (tmp_path / "data").write_bytes(b"")
    manager = StorageManagerImpl(LocalFileStorage(tmp_path / "data", ParquetLayout()))

    with pytest.raises(StorageUnavailableError):
        await manager.check()


async def test_coverage_and_evidence_are_read_without_rows(manager, storage, monkeypatch):
    await manager.commit(EMPTY, [held(0, 5)])
    monkeypatch.setattr(storage, "read_partition", None)

    assert await manager.coverage(PARTITION) == Coverage((Segment(minutes(0, 5), State.HELD),))
    found = (await manager.outline(PARTITION)).evidence
    assert [each.rows for each in found.values()] == [2, 3]  # of two days


def trusting(storage: LocalFileStorage) -> StorageManagerImpl:
    """Return a manager that looks at nothing twice within the hour."""
    return StorageManagerImpl(storage, cache_max_bytes=10_000_000, recheck_after_secs=3600)


async def test_what_was_read_is_kept_ready_for_the_wire(storage, monkeypatch):
    await storage.save_bulk_entries(SERIES, minute_bars(range(50)))
    manager = trusting(storage)
    first = await manager.read(PARTITION, minutes(0, 1))
    monkeypatch.setattr(storage, "read_object", None)

    assert await manager.read(PARTITION) is first
    assert sum(frame.rows for frame in first.frames) == 50


async def test_coverage_of_what_is_kept_is_not_read_again(storage, monkeypatch):
    await storage.save_bulk_entries(SERIES, minute_bars(range(5)))
    manager = trusting(storage)
    stored = await manager.read(PARTITION)
    monkeypatch.setattr(storage, "read_object", None)

    assert await manager.coverage(PARTITION) == stored.coverage
    assert await manager.outline(PARTITION) == Outline(stored.coverage, stored.evidence)


async def test_what_this_process_stores_is_seen_at_once(storage):
    manager = trusting(storage)
    base = await manager.commit(await manager.read(PARTITION), [held(0, 2)])
    assert (await manager.read(PARTITION)).version == base.version

    last = await manager.commit(base, [held(2, 4)])
    facts = await manager.commit_facts(SERIES, FACTS)

    assert (await manager.read(PARTITION)).version == last.version
    assert await manager.facts(SERIES) == facts


async def test_what_another_process_has_stored_is_seen_after_a_look_at_the_version(storage, other):
    manager = trusting(storage)
    await manager.commit(EMPTY, [held(0, 2)])
    await manager.read(PARTITION)
    await other.save_bulk_entries(SERIES, minute_bars([7]))
    assert (await manager.read(PARTITION)).rows.num_rows == 2

    version = await manager.version(PARTITION)

    seen = await manager.read(PARTITION)
    assert (seen.version, seen.rows.num_rows) == (version, 3)


async def test_who_knows_of_a_version_is_not_given_what_was_being_read_before(storage, other, monkeypatch):
    await other.save_bulk_entries(SERIES, minute_bars([0]))
    manager = trusting(storage)
    read_partition, has_read, may_go_on = storage.read_partition, asyncio.Event(), asyncio.Event()

    async def slow(partition, wanted=None):
        stored = await read_partition(partition, wanted)
        has_read.set()
        await may_go_on.wait()
        return stored

    monkeypatch.setattr(storage, "read_partition", slow)
    early = asyncio.create_task(manager.read(PARTITION))
    await has_read.wait()
    await other.save_bulk_entries(SERIES, minute_bars([7]))
    version = await manager.version(PARTITION)
    late = asyncio.create_task(manager.read(PARTITION))
    may_go_on.set()

    assert (await late).version == version
    assert (await early).rows.num_rows == 1
    assert (await manager.read(PARTITION)).version == version


async def test_facts_that_another_process_has_stored_are_seen_by_who_asks_for_them_anew(storage, other):
    manager, theirs = trusting(storage), StorageManagerImpl(other)
    first = await manager.commit_facts(SERIES, FACTS)
    await manager.facts(SERIES)
    newer = await theirs.commit_facts(SERIES, first.with_listing(utc("2024-01-01"), utc("2024-02-01")))
    assert await manager.facts(SERIES) == first

    assert await manager.facts(SERIES, anew=True) == newer
    assert await manager.facts(SERIES) == newer


async def test_a_version_that_cannot_be_written_over_is_not_kept(storage, other):
    """Lost races: the next reader must see what won."""
    manager = trusting(storage)
    base = await manager.commit(EMPTY, [held(0, 2)])
    await manager.read(PARTITION)
    await other.save_bulk_entries(SERIES, minute_bars([7]))

    await manager.commit(base, [held(2, 3)])

    assert (await manager.read(PARTITION)).rows.num_rows == 4


async def test_rows_that_lie_apart_are_read_only_where_they_are_wanted(tmp_path):
    storage = LocalFileStorage(tmp_path, JsonLayout())
    await storage.save_bulk_entries(SERIES, minute_bars([0, 1, 3]))
    manager = trusting(storage)

    assert (await manager.read(PARTITION, minutes(3, 4))).rows.num_rows == 1
    assert (await manager.read(PARTITION)).rows.num_rows == 3


async def test_of_a_partition_with_very_many_bars_only_the_part_that_is_asked_for_is_read_and_nothing_kept(
    storage, monkeypatch
):
    seconds = series(timeframe="1s")
    january = partition_at(seconds, minute(0))
    await storage.save_bulk_entries(seconds, minute_bars(range(120)))
    manager, reads = trusting(storage), []
    read_partition = storage.read_partition

    async def noted(partition, wanted=None):
        reads.append(wanted)
        return await read_partition(partition, wanted)

    monkeypatch.setattr(storage, "read_partition", noted)

    stored = await manager.read(january, minutes(60, 90))
    again = await manager.read(january, minutes(60, 90), known=stored)

    assert_same_rows(stored.rows_in(minutes(60, 90)), minute_bars(range(60, 90)))
    assert again is stored
    assert reads == [minutes(60, 90)]
    assert manager.kept(january) is None


async def test_what_is_known_of_an_older_version_is_read_again(storage, other):
    manager = StorageManagerImpl(storage)
    await other.save_bulk_entries(SERIES, minute_bars([0]))
    known = await manager.read(PARTITION)
    assert await manager.read(PARTITION, known=known) is known

    await other.save_bulk_entries(SERIES, minute_bars([7]))

    assert (await manager.read(PARTITION, known=known)).rows.num_rows == 2


async def test_an_hour_of_trades_is_read_without_keeping_or_decoding_the_day(storage):
    """Nobody knows how many a day has before it is read."""
    await storage.write_partition(holding(TRADES, many_trades(100_000, 1), span_ms(0, 100_000)), many_trades(0))
    manager = StorageManagerImpl(storage, cache_max_bytes=2**30, recheck_after_secs=3600)

    for first in (0, 50_000):
        part = await manager.read(DAY_PARTITION, span_ms(first, first + 100))
        assert 100 <= part.rows.num_rows < 50_000
        assert part.rows_in(span_ms(first, first + 100)).num_rows == 100

    assert manager.kept(DAY_PARTITION) is None
    assert manager.cache.size_bytes == 0


async def test_funding_rates_are_few_enough_to_be_kept(storage):
    await storage.write_partition(STORED_FUNDING, STORED_FUNDING.rows)
    manager = StorageManagerImpl(storage, cache_max_bytes=2**30, recheck_after_secs=3600)

    for _ in range(2):
        part = await manager.read(FUNDING_PARTITION, span_ms(0, 1))
        assert_same_rows(part.rows_in(span_ms(0, 1)).combine_chunks(), STORED_FUNDING.rows.slice(2, 1).combine_chunks())

    assert (manager.cache.hits, manager.cache.misses) == (1, 1)


async def test_pages_that_are_committed_together_are_merged_once(manager, monkeypatch):
    merged = []
    real = stored_partition.union
    monkeypatch.setattr(stored_partition, "union", lambda tables: merged.append(len(tables)) or real(tables))
    pages = [
        Change(trades((number, str(number))), (Segment(span_ms(number, number + 1), State.HELD),))
        for number in range(5)
    ]

    await manager.commit(StoredPartition.empty(DAY_PARTITION), pages)

    assert [count for count in merged if count > 1] == [5]
