"""What every IRawDataStorage survives, whatever the place and the layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pytest
from storage_samples import COVERAGE, DAMAGES, EMPTY, FACTS, MINUTES, PARTITION, held, known, write
from storage_under_test import StorageUnderTest
from structlog.testing import capture_logs
from unit_builders import assert_same_rows, minute, minute_bars, minutes

from cb_trade_data.errors import ErrorCode, NewerFormatError, StorageUnavailableError, VersionConflictError
from cb_trade_data.storage.coverage import Coverage
from cb_trade_data.storage.layouts import StoredObject
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.object_storage import ObjectStorage
from cb_trade_data.storage.stored_partition import Change, StoredPartition


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


class SurvivalContract(StorageUnderTest):
    """Writes that fail, damage, objects of a later release, and reads that commits overtake."""

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
