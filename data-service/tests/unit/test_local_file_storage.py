from __future__ import annotations

import asyncio
import errno
import fcntl
import io
import multiprocessing
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from event_samples import TRADES, span_ms, trades
from json_contract import JsonContract
from service_harness import eventually
from storage_around import AroundFolder, ArrowForm, JsonForm, ParquetForm
from storage_contract import SingleObjectContract, StorageContract
from storage_samples import PARTITION, known, write
from unit_builders import assert_same_rows, minute, minute_bars, minutes, series

from cb_trade_data.errors import StorageUnavailableError, VersionConflictError
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout

SERIES_FOLDER = "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m"
PART = "part.parquet"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


class LocalFileStorageContract(StorageContract):
    @pytest.fixture
    def storage(self, root):
        return LocalFileStorage(root, self.form.layout())

    @pytest.fixture
    def twin(self, root):
        return LocalFileStorage(root, self.form.layout())

    @pytest.fixture
    def around(self, root, monkeypatch):
        return AroundFolder(root, monkeypatch)


class TestLocalFileStorageParquet(SingleObjectContract, LocalFileStorageContract):
    form = ParquetForm()


class TestLocalFileStorageArrow(SingleObjectContract, LocalFileStorageContract):
    form = ArrowForm()


class TestLocalFileStorageJson(JsonContract, LocalFileStorageContract):
    form = JsonForm()


@pytest.fixture
def storage(root):
    return LocalFileStorage(root, ParquetLayout())


async def test_the_root_is_made_when_first_written_to(storage, root):
    await storage.read_partition(PARTITION)
    assert not root.exists()

    await storage.save_bulk_entries(series(), minute_bars([0]))
    assert root.is_dir()


async def test_objects_lie_where_the_design_says(storage, root):
    await storage.save_bulk_entries(series("BTC/USDT:USDT"), minute_bars([0]))

    assert (
        root / "ohlcv/exchange=binance/symbol=BTC%2FUSDT%3AUSDT/timeframe=1m/year=2024/month=02/part.parquet"
    ).is_file()


@pytest.mark.parametrize("step", ["fsync", "write"])
async def test_a_write_that_fails_half_way_leaves_the_old_object_and_no_temporary_file(
    storage, root, monkeypatch, step
):
    stored = await write(storage, known([0]))
    files = sorted(root.rglob("*"))

    def broken(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        if step == "fsync":
            patch.setattr(os, "fsync", broken)
        else:
            patch.setattr(os, "fdopen", lambda descriptor, mode: _BrokenFile(descriptor))
        with pytest.raises(StorageUnavailableError):
            await write(storage, known([0, 1], base=stored))

    assert sorted(root.rglob("*")) == files
    assert (await storage.read_partition(PARTITION)).rows.num_rows == 1


class _BrokenFile(io.FileIO):
    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb")

    def write(self, data: bytes) -> int:
        super().write(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_content_reaches_the_disk_before_its_name_and_its_name_before_the_write_returns(
    storage, root, monkeypatch
):
    """Otherwise a power cut could leave a name with nothing behind it, or take back what was confirmed."""
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        real_fsync(descriptor)

    def rename(source: str, target: str) -> None:
        steps.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    await storage.save_bulk_entries(series(), minute_bars([0]))

    assert steps.count("rename") == 1
    assert "sync file" in steps[: steps.index("rename")]
    assert "sync folder" in steps[steps.index("rename") :]


async def test_documents_reach_the_disk_before_their_names_and_their_names_before_the_commit(root, monkeypatch):
    steps: list[str] = []

    def noted(name: str) -> None:
        real = getattr(os, name)

        def noting(*arguments: object, **options: object) -> None:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            steps.append("sync folder" if is_folder else name)
            real(*arguments, **options)

        monkeypatch.setattr(os, name, noting)

    storage = LocalFileStorage(root, JsonLayout())
    stored = await write(storage, known([2]))
    for name in ("fsync", "link", "replace"):
        noted(name)
    await storage.write_partition(known([2, 3, 4], base=stored), minute_bars([3, 4]))

    documents = ["fsync", "link", "fsync", "link", "sync folder"]
    assert steps == [*documents, "fsync", "replace", "sync folder"]


async def test_a_writer_makes_its_content_once_however_often_it_looks_whether_it_may_write(storage, root):
    """Encoding a partition takes much longer than the look."""
    await storage.put_object("facts", b"old", None)
    version = (await storage.get_object("facts")).version
    made: list[bytes] = []
    looks = 0
    real_put = storage._put

    def content() -> bytes:
        made.append(b"new")
        return made[-1]

    def put(*arguments: object) -> str:
        nonlocal looks
        looks += 1
        return real_put(*arguments)

    storage._put = put
    with (root / ".locks" / "facts.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writing = asyncio.create_task(storage.put_object("facts", content, version))
        await eventually(lambda: looks >= 3)
    await writing

    assert made == [b"new"]
    assert (root / "facts").read_bytes() == b"new"


@pytest.mark.parametrize("made", ["dangling link", "circular link", "folder"])
async def test_a_document_goes_by_another_name_where_its_own_is_taken_by_what_cannot_be_read(root, made):
    storage = LocalFileStorage(root, JsonLayout())
    await write(storage, known([0]))
    (stranger,) = root.rglob("[0-9]*.json")
    (root / "raw_data").rename(root / "old")
    stranger.parent.mkdir(parents=True)
    match made:
        case "dangling link":
            stranger.symlink_to(root / "nowhere")
        case "circular link":
            stranger.symlink_to(stranger)
        case "folder":
            stranger.mkdir()

    await write(storage, known([0, 1]))

    assert_same_rows((await storage.read_partition(PARTITION)).rows, minute_bars([0, 1]))
    assert stranger.is_symlink() or stranger.is_dir()


@pytest.mark.parametrize("verb", ["put", "get", "delete"])
async def test_others_get_the_thread_between_the_documents_of_a_large_partition(root, verb):
    """One thread stands for a pool in which every other is taken by such a partition, too."""
    storage = LocalFileStorage(root, JsonLayout())
    entries = {f"folder/{number}.json": b"{}" for number in range(300)}
    if verb != "put":
        await storage.put_entries(entries)
    steps: list[str] = []
    work = {
        "put": lambda: storage.put_entries(entries),
        "get": lambda: storage.get_entries(list(entries)),
        "delete": lambda: storage.delete_entries(list(entries)),
    }[verb]

    async def entries_first() -> None:
        await work()
        steps.append("entries")

    async def then_another() -> None:
        await asyncio.to_thread(lambda: None)
        steps.append("another")

    with ThreadPoolExecutor(max_workers=1) as pool:
        asyncio.get_running_loop().set_default_executor(pool)
        await asyncio.gather(entries_first(), then_another())

    assert steps == ["another", "entries"]


async def test_what_a_crashed_writer_left_behind_is_no_object(storage, root):
    await storage.save_bulk_entries(series(), minute_bars([0]))
    folder = next(root.rglob("part.parquet")).parent
    (folder / ".writing-abc123").write_bytes(b"half a fi")

    assert [each.path async for each in storage.list_objects("ohlcv")] == [
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/part.parquet"
    ]
    assert await storage.list_coins("binance") == ["BTC/USDT"]


async def test_a_listing_is_sorted_by_path_not_folder_by_folder(storage, root):
    """As that of a container is; `-` and `.` come before `/`, digits after it."""
    paths = ["a-b.txt", "a.txt", "a/x", "a/y/z", "a0.txt"]
    for path in reversed(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"12")

    assert [(each.path, each.size_bytes) async for each in storage.list_objects("")] == [(path, 2) for path in paths]


@pytest.mark.parametrize("linked", ["ohlcv", "ohlcv/exchange=binance", f"{SERIES_FOLDER}/year=2024"])
async def test_what_lies_behind_a_link_to_another_disk_is_there_in_every_view(storage, root, tmp_path, linked):
    await storage.save_bulk_entries(series(), minute_bars([0]))
    listed = [each async for each in storage.list_objects("")]
    (root / linked).rename(tmp_path / "other disk")
    (root / linked).symlink_to(tmp_path / "other disk", target_is_directory=True)

    await storage.save_bulk_entries(series(), minute_bars([1]))

    assert [each.path async for each in storage.list_objects("")] == [each.path for each in listed]
    assert await storage.list_coins("binance") == ["BTC/USDT"]
    assert list(await storage.list_series()) == [series()]
    assert await storage.list_partitions(series()) == [PARTITION]
    assert await storage.get_latest_timestamp(series()) == minute(1)
    assert (await storage.get_range(series(), minutes(0, 9))).num_rows == 2


@pytest.mark.parametrize("start", ["", "ohlcv", "ohlcv/exchange=binance"])
async def test_links_that_lead_in_circles_or_nowhere_end_no_listing(storage, root, tmp_path, start):
    await storage.save_bulk_entries(series(), minute_bars([0]))
    folder = root / "ohlcv/exchange=binance"
    (folder / "up").symlink_to("..")
    (folder / "here").symlink_to(".")
    (folder / "itself").symlink_to("itself")
    (folder / "nowhere").symlink_to("nothing")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/back").symlink_to(root)
    (folder / "there").symlink_to(tmp_path / "elsewhere")

    assert [each.path async for each in storage.list_objects(start)] == [f"{SERIES_FOLDER}/year=2024/month=02/{PART}"]


async def test_lock_files_are_no_objects(storage, root):
    """Engines that open the tree pass over what starts with a dot."""
    await storage.save_bulk_entries(series(), minute_bars([0]))
    await storage.check()

    visible = [path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0][0] not in "._"]
    assert [path.name for path in visible] == ["part.parquet"]


async def test_the_whole_tree_opens_as_one_dataset(storage, root):
    """Files of ours that are no Parquet start with a dot or an underscore, as such engines expect."""
    import pyarrow.dataset as ds

    await storage.save_bulk_entries(series(), minute_bars([0, 1]))
    await storage.save_bulk_entries(series("ETH/USDT", "1M"), minute_bars([2]).slice(0, 1))
    await storage.check()

    rows = ds.dataset(root / "ohlcv", partitioning="hive").to_table()

    assert rows.num_rows == 3
    assert set(rows.column("symbol").to_pylist()) == {"BTC/USDT", "ETH/USDT"}
    assert set(rows.column("timeframe").to_pylist()) == {"1m", "1mo"}


@pytest.mark.parametrize(
    "use",
    [
        lambda storage: storage.read_partition(PARTITION),
        lambda storage: storage.partition_version(PARTITION),
        lambda storage: storage.read_facts(series()),
        lambda storage: storage.save_bulk_entries(series(), minute_bars([0])),
        lambda storage: storage.check(),
    ],
    ids=["read", "version", "facts", "write", "check"],
)
async def test_a_root_that_is_a_file_is_unavailable_storage(root, use):
    root.write_bytes(b"")

    with pytest.raises(StorageUnavailableError):
        await use(LocalFileStorage(root, ParquetLayout()))


async def test_an_object_written_back_to_an_earlier_length_and_time_is_still_another_version(storage, root):
    """File systems' clocks tick every few milliseconds and inode numbers are used again: neither tells writes apart."""
    first = await storage.put_object("facts", b"one", None)
    file = root / "facts"
    before = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    found = await storage.get_object("facts")

    assert found is not None
    assert found.version != first
    with pytest.raises(VersionConflictError):
        await storage.put_object("facts", b"six", first)


FORMS = {"parquet": ParquetForm(), "arrow": ArrowForm(), "json": JsonForm()}


def _save(root: Path, first: int) -> None:
    for number in range(first, first + 10):
        for name, form in FORMS.items():
            storage = LocalFileStorage(root / name, form.layout())
            asyncio.run(storage.save_bulk_entries(series(), minute_bars([number])))


async def test_two_processes_that_write_the_same_partition_lose_nothing(root):
    """Of each layout one; a process takes seconds to start."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_save, args=(root, first)) for first in (0, 10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        await asyncio.to_thread(writer.join)

    assert [writer.exitcode for writer in writers] == [0, 0]
    for name, form in FORMS.items():
        stored = await LocalFileStorage(root / name, form.layout()).read_partition(PARTITION)
        assert_same_rows(stored.rows.combine_chunks(), minute_bars(range(20)))
        assert stored.coverage == Coverage((Segment(minutes(0, 20), State.HELD),))


class _CaseBlindStorage(LocalFileStorage):
    """On a disk that takes names for equal which differ only in case."""

    async def put_entries(self, entries):
        return [
            path
            for path, data in entries.items()
            if await super(_CaseBlindStorage, self).put_entries({path.lower(): data})
        ]

    async def get_entries(self, paths):
        found = await super().get_entries([path.lower() for path in paths])
        return {path: found[path.lower()] for path in paths if path.lower() in found}

    async def delete_entries(self, paths):
        await super().delete_entries([path.lower() for path in paths])


async def test_ids_that_differ_only_in_case_are_kept_apart_on_a_disk_that_does_not_tell_case(root):
    """Whose document's name is taken gets another one: see `EntryPaths`."""
    storage = _CaseBlindStorage(root, JsonLayout())
    rows = trades((7, "ABC"), (7, "ABc"), (7, "abc"), (8, "abc"))

    await storage.save_bulk_entries(TRADES, rows)
    assert_same_rows((await storage.get_range(TRADES, span_ms(0, 9))).combine_chunks(), rows)

    for left in (trades((7, "ABc"), (7, "abc")), trades((7, "ABC")), trades((7, "abc"), price=700.0)):
        await storage.save_bulk_entries(TRADES, left)
        assert_same_rows((await storage.get_range(TRADES, span_ms(0, 8))).combine_chunks(), left)
    assert storage.damaged_objects == 0
