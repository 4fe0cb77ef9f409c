"""Storage on a local disk: a folder that imitates an object store."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import random
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

import pyarrow as pa

from cb_trade_data.errors import StorageUnavailableError, VersionConflictError
from cb_trade_data.storage.implementations.file_lock import FileLock
from cb_trade_data.storage.implementations.known_files import KnownFiles, content_version
from cb_trade_data.storage.implementations.renewed_lock import LEASE_SECS
from cb_trade_data.storage.interfaces import PartitionLock
from cb_trade_data.storage.layouts import Layout, StoredObject
from cb_trade_data.storage.object_storage import Content, ListedObject, ObjectStorage

# Both start with a dot, so that no engine that opens the tree takes their content for data.
_LOCKS: Final = ".locks"
_TEMPORARY_PREFIX: Final = ".writing-"
_TEMPORARY_BYTES: Final = 8

_FILE_MODE: Final = 0o644
# A lock is held for one write.
_LOCK_WAIT_SECS: Final = 30.0
_LOCK_POLL_SECS: Final = (0.002, 0.02)
# Nothing takes so long to write: who has a temporary file of that age has died.
_ABANDONED_AFTER_SECS: Final = 3600.0
_LISTED_AT_ONCE: Final = 1_000
# A partition may have tens of thousands of entries, each with an fsync. Between slices others get their turns.
_ENTRIES_AT_ONCE: Final = 100

T = TypeVar("T")


class LocalFileStorage(ObjectStorage):
    """Objects are files; replacing one is temp file, fsync, rename, fsync of the folder, under the object's lock file.

    A file is therefore always whole: the old one or the new one, whenever the process or the machine dies. Works for
    several processes on one machine; POSIX only.
    """

    def __init__(self, root: Path, layout: Layout, lease_secs: float = LEASE_SECS) -> None:
        """*root* is made when first written to; partitions' locks end *lease_secs* after their last renewal."""
        super().__init__(layout)
        self._root = root
        self._lease_secs = lease_secs
        self._files = KnownFiles(root)

    async def check_exists(self) -> None:
        """See `ObjectStorage.check_exists`."""
        if not await asyncio.to_thread(self._root.is_dir):
            raise StorageUnavailableError("", f"there is no folder {self._root.absolute()}")

    async def read_object(self, path: str, work: Callable[[StoredObject], T]) -> T | None:
        """See `ObjectStorage.read_object`."""
        return await asyncio.to_thread(self._work_on, path, work)

    async def object_version(self, path: str) -> str | None:
        """See `ObjectStorage.object_version`."""
        try:
            return await asyncio.to_thread(self._current_version, path)
        except OSError as error:
            raise StorageUnavailableError(path, error.strerror or type(error).__name__) from error

    async def put_object(self, path: str, content: Content, expected_version: str | None) -> str:
        """See `ObjectStorage.put_object`."""
        data = await asyncio.to_thread(content) if callable(content) else content
        return await self._once_unlocked(lambda: self._put(path, data, expected_version), path)

    async def get_entries(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """See `ObjectStorage.get_entries`."""
        found: dict[str, bytes] = {}
        for some in _slices(paths):
            found |= await asyncio.to_thread(self._get_entries, some)
        return found

    async def put_entries(self, entries: Mapping[str, bytes]) -> list[str]:
        """See `ObjectStorage.put_entries`."""
        occupied: list[str] = []
        for some in _slices(list(entries)):
            occupied += await asyncio.to_thread(self._put_entries, {path: entries[path] for path in some})
        return occupied

    async def delete_entries(self, paths: Sequence[str]) -> None:
        """See `ObjectStorage.delete_entries`."""
        for some in _slices(paths):
            await asyncio.to_thread(self._delete_entries, some)

    async def list_objects(self, folder: str, *, with_entries: bool = True) -> AsyncGenerator[ListedObject, None]:
        """See `ObjectStorage.list_objects`."""
        async for each in self._walk(folder, _is_object, with_entries=with_entries):
            yield each

    async def list_abandoned(self, folder: str) -> AsyncGenerator[ListedObject, None]:
        """See `ObjectStorage.list_abandoned`."""
        async for each in self._walk(folder, _is_abandoned):
            yield each

    async def delete_object(self, path: str, version: str) -> bool:
        """See `ObjectStorage.delete_object`."""
        return await self._once_unlocked(lambda: self._delete(path, version), path)

    async def try_lock_object(self, path: str) -> PartitionLock | None:
        """See `ObjectStorage.try_lock_object`."""
        try:
            return await FileLock.try_take(self._root / _LOCKS / f"{path}.flight", self._lease_secs)
        except OSError as error:
            raise StorageUnavailableError(path, error.strerror or type(error).__name__) from error

    async def close(self) -> None:
        """See `IRawDataStorage.close`."""

    def _work_on(self, path: str, work: Callable[[StoredObject], T]) -> T | None:
        try:
            found = self._files.read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageUnavailableError(path, error.strerror or type(error).__name__) from error
        return work(found)

    async def _once_unlocked(self, work: Callable[[], T], path: str) -> T:
        """Do *work*, which takes the object's lock, in a thread, as soon as nobody else holds that lock."""
        give_up_at = time.monotonic() + _LOCK_WAIT_SECS
        while True:
            try:
                return await asyncio.to_thread(work)
            except _LockHeldError as error:
                if time.monotonic() > give_up_at:
                    raise StorageUnavailableError(path, "another process does not let go of its lock") from error
                # Polled: waiting for it in a pool thread could use up the pool.
                await asyncio.sleep(random.uniform(*_LOCK_POLL_SECS))  # noqa: S311 - jitter
            except OSError as error:
                raise StorageUnavailableError(path, error.strerror or type(error).__name__) from error

    def _put(self, path: str, data: pa.Buffer | bytes, expected_version: str | None) -> str:
        target = self._root / path
        with self._locked(path):
            if self._current_version(path) != expected_version:
                raise VersionConflictError(path)
            self._files.forget(path)
            return _replace(target, data)

    def _get_entries(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        path, found = "", {}
        try:
            for path in paths:
                with suppress(FileNotFoundError):
                    found[path] = (self._root / path).read_bytes()
        except OSError as error:
            raise StorageUnavailableError(path, error.strerror or type(error).__name__) from error
        return found

    def _put_entries(self, entries: Mapping[str, bytes]) -> list[str]:
        path, occupied = "", []
        folders = {(self._root / path).parent for path in entries}
        try:
            for folder in folders:
                _make_folder(folder)
            for path, data in entries.items():
                if not _create(self._root / path, data):
                    occupied.append(path)
            for folder in folders:
                _sync_folder(folder)
        except OSError as error:
            raise StorageUnavailableError(path, error.strerror or type(error).__name__) from error
        return occupied

    def _delete_entries(self, paths: Sequence[str]) -> None:
        path = ""
        try:
            for path in paths:
                (self._root / path).unlink(missing_ok=True)
            for folder in {(self._root / path).parent for path in paths}:
                _sync_folder(folder)
        except OSError as error:
            raise StorageUnavailableError(path, error.strerror or type(error).__name__) from error

    def _delete(self, path: str, version: str) -> bool:
        target = self._root / path
        with self._locked(path):
            if self._current_version(path) != version:
                return False
            self._files.forget(path)
            target.unlink()
            _sync_folder(target.parent)
            return True

    async def _walk(
        self, folder: str, is_wanted: Callable[[os.DirEntry[str]], bool], *, with_entries: bool = True
    ) -> AsyncGenerator[ListedObject, None]:
        files = self._listed(folder, is_wanted, with_entries)
        try:
            while batch := await asyncio.to_thread(lambda: list(islice(files, _LISTED_AT_ONCE))):
                for each in batch:
                    yield each
        except OSError as error:
            raise StorageUnavailableError(folder, error.strerror or type(error).__name__) from error

    def _listed(
        self, folder: str, is_wanted: Callable[[os.DirEntry[str]], bool], with_entries: bool
    ) -> Iterator[ListedObject]:
        """Yield what is under *folder*, sorted by path; knows no more at a time than the folders it is in.

        Links are followed, as reads and writes follow them, except into a folder that they lie in.
        """

        def listed(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[ListedObject]:
            within = above | {_identity(self._root / folder)}
            if within == above:
                return
            with os.scandir(self._root / folder) as found:
                # With its slash, a folder's name comes where the paths of its files do.
                entries = sorted(found, key=lambda entry: f"{entry.name}/" if _is_folder(entry) else entry.name)
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                with suppress(FileNotFoundError):  # One that is gone by now was never there.
                    if _is_folder(entry):
                        if path != _LOCKS and (with_entries or not self._paths.is_entry_folder(path)):
                            yield from listed(path, within)
                    elif _is_file(entry) and is_wanted(entry):
                        yield ListedObject(path, entry.stat().st_size)

        with suppress(FileNotFoundError):
            yield from listed(folder, frozenset(_identity(self._root / each) for each in PurePosixPath(folder).parents))

    def _current_version(self, path: str) -> str | None:
        try:
            return self._files.version(path)
        except FileNotFoundError:
            return None

    @contextmanager
    def _locked(self, path: str) -> Iterator[None]:
        """Hold the object's lock file, for one check and one rename.

        Raises:
            _LockHeldError: Somebody else has it.
        """
        lock = self._root / _LOCKS / f"{path}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _LockHeldError from error
            yield


class _LockHeldError(Exception):
    """Another writer is at it."""


def _slices(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    return (paths[first : first + _ENTRIES_AT_ONCE] for first in range(0, len(paths), _ENTRIES_AT_ONCE))


def _identity(folder: Path) -> tuple[int, int]:
    """Return what a folder has in common with all links to it, and with nothing else."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return not _is_endless(entry) and entry.is_dir()


def _is_file(entry: os.DirEntry[str]) -> bool:
    return not _is_endless(entry) and entry.is_file()


def _is_endless(entry: os.DirEntry[str]) -> bool:
    """Tell whether *entry* is a link that leads to itself, and so to nothing."""
    try:
        entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return True
    return False


def _is_object(file: os.DirEntry[str]) -> bool:
    return not file.name.startswith(".")


def _is_abandoned(file: os.DirEntry[str]) -> bool:
    is_old = time.time() - file.stat().st_mtime > _ABANDONED_AFTER_SECS
    return file.name.startswith(_TEMPORARY_PREFIX) and is_old


def _replace(target: Path, data: pa.Buffer | bytes) -> str:
    """Put *data* in the place of *target*. Only for who holds its lock: what a killed writer left is written over."""
    _make_folder(target.parent)
    with _written(target.with_name(_TEMPORARY_PREFIX + target.name), data) as temporary:
        temporary.replace(target)
    _sync_folder(target.parent)
    return content_version(data)


def _create(target: Path, data: bytes) -> bool:
    """Make the file, and tell whether it is there now with this content: not if something else has the name."""
    if os.path.lexists(target):
        return _holds(target, data)
    with _written(target.with_name(_TEMPORARY_PREFIX + secrets.token_hex(_TEMPORARY_BYTES)), data) as temporary:
        try:
            os.link(temporary, target)
        except FileExistsError:  # made by somebody else just now
            return _holds(target, data)
    return True


def _holds(target: Path, data: bytes) -> bool:
    try:
        return target.read_bytes() == data
    except OSError:
        return False  # The name is taken, by whatever it is.


@contextmanager
def _written(temporary: Path, data: pa.Buffer | bytes) -> Iterator[Path]:
    """Write *data* to a temporary file, which is on the disk then, and which goes if it still has that name."""
    descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            # Temporary files are made for their owner alone; these are for every engine on the machine to read.
            os.fchmod(file.fileno(), _FILE_MODE)
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Make *folder* and those above it, so that they survive a loss of power."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename or removal in *folder* survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
