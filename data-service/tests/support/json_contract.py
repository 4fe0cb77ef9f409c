"""What the `json` layout promises besides, in every place: see `storage_contract`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import orjson
import pyarrow as pa
import pytest
from storage_around import Around
from storage_contract import StorageContract
from storage_samples import (
    COVERAGE,
    DAMAGES,
    EMPTY,
    FACTS,
    MINUTES,
    PARTITION,
    held,
    known,
    known_stretch,
    restated,
    write,
)
from structlog.testing import capture_logs
from unit_builders import assert_same_rows, bars, epoch_ms, minute, minute_bars, minutes, series, utc

from cb_trade_data.errors import StorageUnavailableError, VersionConflictError
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.storage.coverage import Coverage
from cb_trade_data.storage.layouts import StoredObject
from cb_trade_data.storage.object_storage import ObjectStorage
from cb_trade_data.storage.stored_partition import StoredPartition

FOLDER = "raw_data/binance/BTC%2FUSDT/ohlcv-1m/2024/02"


def row_path(number: int) -> str:
    """Return where the first document of a minute of PARTITION lies."""
    return f"{FOLDER}/{minute(number):%d}/{epoch_ms(minute(number))}.json"


def leave_documents(around: Around, numbers: Iterable[int], price: float = 100.0) -> None:
    """Put documents of rows there that no commit names."""
    for number in numbers:
        (row,) = minute_bars([number], price).to_pylist()
        around.write(row_path(number), orjson.dumps(row | {"timestamp": epoch_ms(minute(number))}))


class JsonContract(StorageContract):
    """What the `json` layout promises besides: a row is a document of its own, and one object names all that count."""

    @pytest.fixture
    def cut_off(self, monkeypatch) -> Callable[[ObjectStorage, str], AbstractContextManager[None]]:
        """Make a byte verb of a storage fail, as when its process dies there, while the context lasts."""

        @contextmanager
        def cut_off(storage: ObjectStorage, verb: str) -> Iterator[None]:
            async def fail(*arguments: object, **options: object) -> None:
                raise StorageUnavailableError("the place", "cut off")

            with monkeypatch.context() as patch:
                patch.setattr(storage, verb, fail)
                yield

        return cut_off

    async def test_a_row_is_a_document_that_people_can_read(self, storage, around):
        await storage.save_bulk_entries(MINUTES, minute_bars([0, 2]))

        assert around.paths() == [
            f"{FOLDER}/28/1709164680000.json",
            f"{FOLDER}/29/1709164800000.json",
            f"{FOLDER}/_coverage.json",
        ]
        assert orjson.loads(around.read(f"{FOLDER}/28/1709164680000.json")) == {
            "timestamp": 1_709_164_680_000,
            **{name: minute_bars([0]).column(name)[0].as_py() for name in OHLCV_SCHEMA.names[1:]},
        }
        commit = orjson.loads(around.read(f"{FOLDER}/_coverage.json"))
        assert commit["cb_trade.format"] == 1
        assert [segment["state"] for segment in commit["cb_trade.coverage"]] == ["held", "held"]
        assert commit["cb_trade.entries"] == [["1709164680000"], ["1709164800000"]]

    # --- Documents that the commit does not name ---

    async def test_rows_without_a_commit_are_not_there(self, storage, around):
        """A crash between the first rows of a partition and their commit."""
        leave_documents(around, [0, 1])

        assert await storage.read_partition(PARTITION) == EMPTY
        assert await storage.list_coins("binance") == []
        assert await storage.get_latest_timestamp(MINUTES) is None
        assert storage.damaged_objects == 0

    @pytest.mark.parametrize("number", [-2000, 2, 5, 9])
    async def test_a_document_that_the_commit_does_not_name_is_not_there(self, storage, around, number):
        """Neither beyond the coverage nor in a hole that an answered page has proved."""
        rows = minute_bars([1, 3, 6])
        stored = await write(storage, StoredPartition(PARTITION, rows, Coverage((held(1, 7),))))
        leave_documents(around, [number])

        for wanted in (None, minutes(-9999, 9999)):
            read = await storage.read_partition(PARTITION, wanted)
            assert_same_rows(read.rows.combine_chunks(), rows)
            assert (read.coverage, read.version) == (stored.coverage, stored.version)
        just_there = minutes(number, number + 1)
        assert (await storage.read_partition(PARTITION, just_there)).rows_in(just_there).num_rows == 0
        assert await storage.get_latest_timestamp(MINUTES) == minute(6)
        assert storage.damaged_objects == 0

    async def test_what_a_crash_has_left_is_taken_over_where_it_is_the_same(self, storage, twin, around):
        stored = await write(storage, known([0, 1]))
        leave_documents(around, [2, 3])

        await storage.write_partition(known(range(4), base=stored), minute_bars([2, 3]))

        assert_same_rows((await twin.read_partition(PARTITION)).rows.combine_chunks(), minute_bars(range(4)))
        assert around.paths() == sorted([*map(row_path, range(4)), f"{FOLDER}/_coverage.json"])

    @pytest.mark.parametrize("content", [b"", b"garbage", b"{}", None], ids=["empty", "garbage", "other", "other row"])
    async def test_a_name_that_is_taken_is_left_to_what_is_there(self, storage, twin, around, content):
        """By a stranger, or by a writer that died or lost: its document stays, and is not in the way."""
        leave_documents(around, [1], price=700)
        if content is not None:
            around.write(row_path(1), content)
        taken = around.read(row_path(1))

        await storage.save_bulk_entries(MINUTES, minute_bars(range(3)))

        assert_same_rows((await twin.read_partition(PARTITION)).rows.combine_chunks(), minute_bars(range(3)))
        assert around.read(row_path(1)) == taken
        (own,) = [path for path in around.paths() if path.startswith(row_path(1)[:-4]) and path != row_path(1)]
        assert orjson.loads(around.read(own))["timestamp"] == epoch_ms(minute(1))
        assert twin.damaged_objects == 0

    async def test_damage_that_was_fetched_again_is_over(self, storage, around):
        rows = minute_bars([2, 3, 6])
        stored = StoredPartition(PARTITION, rows, Coverage((held(2, 7),)))
        await write(storage, stored)
        around.write(row_path(3), b"garbage")

        assert await storage.read_partition(PARTITION) == EMPTY
        await write(storage, stored)

        assert_same_rows((await storage.read_partition(PARTITION)).rows.combine_chunks(), rows)
        assert storage.damaged_objects == 1

    # --- Rows that change ---

    async def test_a_row_that_changes_gets_another_document_and_the_old_one_goes(self, storage, twin, around):
        base = await write(storage, known(range(4)))
        kept = {path: around.read(path) for path in map(row_path, [0, 2, 3])}

        written = await storage.write_partition(restated(base, [1]), minute_bars([1], price=700))

        assert_same_rows((await twin.read_partition(PARTITION)).rows.combine_chunks(), written.rows.combine_chunks())
        assert row_path(1) not in around.paths()
        assert {path: around.read(path) for path in map(row_path, [0, 2, 3])} == kept
        assert len(around.paths()) == 4 + 1

    async def test_a_row_may_change_back(self, storage, twin, around):
        stored = await write(storage, known(range(3)))
        for price in (700, 100, 700, 100):
            stored = await storage.write_partition(restated(stored, [1], price), minute_bars([1], price))

        assert_same_rows((await twin.read_partition(PARTITION)).rows.combine_chunks(), minute_bars(range(3)))
        assert len(around.paths()) == 3 + 1

    async def test_a_row_with_the_values_it_had_keeps_its_document(self, storage, around):
        base = await write(storage, known(range(4)))
        before = around.paths()

        await write(storage, replace(base, coverage=COVERAGE))

        assert around.paths() == before

    async def test_before_the_commit_a_reader_finds_the_old_rows_and_after_it_the_new_ones(
        self, storage, twin, monkeypatch
    ):
        base = await write(storage, known(range(4)))
        put_object, seen = storage.put_object, []

        async def put_while_another_reads(*arguments: Any) -> str:
            seen.append(await twin.read_partition(PARTITION))
            version = await put_object(*arguments)
            seen.append(await twin.read_partition(PARTITION))
            return version

        monkeypatch.setattr(storage, "put_object", put_while_another_reads)
        await storage.write_partition(restated(base, [1, 2]), minute_bars([1, 2], price=700))

        before, after = seen
        assert_same_rows(before.rows.combine_chunks(), base.rows)
        assert_same_rows(after.rows.combine_chunks(), restated(base, [1, 2]).rows.combine_chunks())
        assert twin.damaged_objects == 0

    async def test_a_reader_whose_rows_are_replaced_under_its_hands_finds_the_new_ones(
        self, storage, twin, monkeypatch
    ):
        """Never some of these and some of those, and nothing is damaged."""
        base = await write(storage, known(range(4)))
        get_entries, commits = twin.get_entries, iter([restated(base, [1, 2])])

        async def get_after_another_commit(paths: Sequence[str]) -> Mapping[str, bytes]:
            for stored in commits:
                await storage.write_partition(stored, minute_bars([1, 2], price=700))
            return await get_entries(paths)

        monkeypatch.setattr(twin, "get_entries", get_after_another_commit)
        read = await twin.read_partition(PARTITION)

        assert_same_rows(read.rows.combine_chunks(), restated(base, [1, 2]).rows.combine_chunks())
        assert twin.damaged_objects == 0

    @pytest.mark.parametrize("verb", ["put_entries", "put_object"])
    async def test_a_writer_that_dies_before_its_commit_has_changed_nothing(self, storage, twin, around, cut_off, verb):
        base = await write(storage, known(range(4)))
        change = restated(replace(base, rows=minute_bars(range(9))), [1, 2])
        fresh = pa.concat_tables([minute_bars([1, 2], price=700), minute_bars(range(4, 9))])

        with cut_off(storage, verb), pytest.raises(StorageUnavailableError):
            await storage.write_partition(change, fresh)

        assert_same_rows((await twin.read_partition(PARTITION)).rows.combine_chunks(), base.rows)
        await twin.write_partition(change, fresh)
        assert_same_rows((await storage.read_partition(PARTITION)).rows.combine_chunks(), change.rows.combine_chunks())
        assert storage.damaged_objects + twin.damaged_objects == 0

    async def test_a_writer_that_cannot_tidy_up_has_written_nevertheless(self, storage, twin, cut_off):
        base = await write(storage, known(range(4)))
        change = restated(base, [1])

        with cut_off(storage, "delete_entries"), capture_logs() as logs:
            written = await storage.write_partition(change, minute_bars([1], price=700))

        read = await twin.read_partition(PARTITION)
        assert_same_rows(read.rows.combine_chunks(), change.rows.combine_chunks())
        assert read.version == written.version
        assert [(line["log_level"], line["entries"]) for line in logs if line["event"] == "storage.not_tidied"] == [
            ("warning", 1)
        ]

    # --- Writers at the same time ---

    @pytest.mark.parametrize("base_rows", [0, 4], ids=["new rows", "restated rows"])
    async def test_a_writer_that_loses_has_touched_nothing_of_the_winner(
        self, storage, twin, around, monkeypatch, base_rows
    ):
        """The loser has written all its documents when the winner starts."""
        base = await write(storage, known(range(base_rows)))
        winning = restated(replace(base, rows=minute_bars(range(4))), range(4), price=700)
        losing = restated(replace(base, rows=minute_bars(range(4))), range(4), price=300)
        put_object = storage.put_object

        async def put_too_late(*arguments: Any) -> str:
            await write(twin, winning)
            return await put_object(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(storage, "put_object", put_too_late)
            with pytest.raises(VersionConflictError):
                await write(storage, losing)

        for reader in (storage, twin):
            assert_same_rows(
                (await reader.read_partition(PARTITION)).rows.combine_chunks(), winning.rows.combine_chunks()
            )
            assert reader.damaged_objects == 0

    async def test_a_write_over_a_stale_version_makes_no_document(self, storage, twin, around):
        base = await write(storage, known([0]))
        await write(twin, known([0, 1], base=base))
        before = around.paths()

        with pytest.raises(VersionConflictError):
            await write(storage, known([0, 2], base=base))

        assert around.paths() == before

    async def test_a_commit_that_rots_under_a_writer_is_set_aside_and_a_conflict(self, storage, around, monkeypatch):
        """Its version may be remembered, so that the writer is the first to look into it."""
        base = await write(storage, known([0]))
        get_object = storage.get_object

        async def rotten(path: str) -> StoredObject | None:
            found = await get_object(path)
            return found and replace(found, data=pa.py_buffer(b"garbage"))

        with monkeypatch.context() as patch:
            patch.setattr(storage, "get_object", rotten)
            with pytest.raises(VersionConflictError):
                await write(storage, known([0, 1], base=base))

        assert await storage.read_partition(PARTITION) == EMPTY
        assert storage.damaged_objects == 1

    # --- What is asked of the place ---

    async def test_a_part_is_read_from_the_documents_of_its_days(self, storage, asked):
        await write(storage, known([-1440, 0, 1, 2, 3]))

        await storage.read_partition(PARTITION, minutes(2, 3))

        assert asked == [row_path(2), row_path(3)]

    @pytest.mark.parametrize(("verb", "numbers"), [("get_latest_timestamp", [2, 3]), ("get_first_timestamp", [-1440])])
    async def test_an_edge_is_read_from_the_documents_of_one_day(self, storage, asked, verb, numbers):
        await write(storage, known([-1440, 0, 1, 2, 3]))

        await getattr(storage, verb)(MINUTES)

        assert asked == [row_path(number) for number in numbers]

    @pytest.fixture
    def asked(self, storage, monkeypatch) -> list[str]:
        """The paths of the entries that were read."""
        paths: list[str] = []
        get_entries = storage.get_entries

        async def get(some: Sequence[str]) -> Mapping[str, bytes]:
            paths.extend(some)
            return await get_entries(some)

        monkeypatch.setattr(storage, "get_entries", get)
        return paths

    async def test_a_listing_may_leave_the_documents_out(self, storage, around):
        await storage.save_bulk_entries(MINUTES, minute_bars([0, 2]))
        await storage.save_bulk_entries(series(timeframe="1d"), bars([utc("2024-01-01")]))
        await storage.write_facts(MINUTES, FACTS)
        around.write(f"{FOLDER}/29/_coverage.json", b"a stranger's")

        everything = [each.path async for each in storage.list_objects("raw_data/binance")]
        some = [each.path async for each in storage.list_objects("raw_data/binance", with_entries=False)]

        assert everything == around.paths()
        assert some == [
            "raw_data/binance/BTC%2FUSDT/ohlcv-1d/_coverage.json",
            f"{FOLDER}/_coverage.json",
            "raw_data/binance/BTC%2FUSDT/ohlcv-1m/_series.json",
        ]

    async def test_many_documents_are_written_and_read_in_one_go(self, storage, twin):
        written = await write(storage, known_stretch(range(200)))

        assert_same_rows((await twin.read_partition(PARTITION)).rows.combine_chunks(), written.rows)

    # --- Damage ---

    async def test_damage_is_noticed_however_often_the_rows_were_read(self, storage, around):
        """Documents rot one by one, and the version of the commit does not tell."""
        await write(storage, known(range(4)))
        await storage.read_partition(PARTITION)
        around.write(row_path(2), around.read(row_path(2)).replace(b'"open":7', b'"open":5'))

        assert await storage.read_partition(PARTITION) == EMPTY
        assert storage.damaged_objects == 1

    @pytest.mark.parametrize("damage", [*DAMAGES, "gone", "another value", "another time", "a bit of a digit"])
    async def test_a_damaged_row_is_never_shown_and_its_partition_set_aside(self, storage, around, damage):
        await write(storage, known(range(2, 6)))
        path = around.path_of("/1709164920000.json")
        data = around.read(path)
        commit = around.read(around.path_of(self.form.commit_end))
        match damage:
            case "gone":
                around.delete(path)
            case "another value":
                around.write(path, orjson.dumps(orjson.loads(data) | {"close": 1.0}))
            case "another time":
                around.write(path, data.replace(b"1709164920000", b"1709164921000"))
            case "a bit of a digit":
                around.write(path, data.replace(b'"open":7', b'"open":5'))
            case _:
                around.write(path, DAMAGES[damage](data))

        assert await storage.read_partition(PARTITION) == EMPTY

        assert storage.damaged_objects == 1
        assert commit in [around.read(path) for path in around.paths() if path.startswith("_damaged/")]
        again = await write(storage, known(range(2, 6)))
        assert_same_rows((await storage.read_partition(PARTITION)).rows.combine_chunks(), again.rows)

    async def test_files_of_strangers_beside_the_rows_are_passed_over(self, storage, around):
        stored = await write(storage, known(range(3)))
        folder = around.path_of(self.form.commit_end).rsplit("/", 1)[0]
        for name in ("notes.txt", "29/notes.json", "29/README", "29/_note.json", "29/1709164800000.json.bak"):
            around.write(f"{folder}/{name}", b"hello")

        read = await storage.read_partition(PARTITION)

        assert_same_rows(read.rows.combine_chunks(), minute_bars(range(3)))
        assert read.version == stored.version
