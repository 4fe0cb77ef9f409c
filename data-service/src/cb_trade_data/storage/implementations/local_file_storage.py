"""Storage on a local disk: a folder that imitates an object store."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cb_trade_data.errors import StorageUnavailableError, VersionConflictError
from cb_trade_data.storage.layouts import Layout
from cb_trade_data.storage.object_storage import ObjectStorage

# Both start with a dot, so that no engine that opens the tree takes their content for data.
_LOCKS: Final = ".locks"
_TEMPORARY_PREFIX: Final = ".writing-"

_LOCK_POLL_SECS: Final = (0.002, 0.02)


class LocalFileStorage(ObjectStorage):
    """Objects are files; replacing one is temp file, fsync, rename, fsync of the folder, under the object's lock file.

    A file is therefore always whole: the old one or the new one, whenever the process or the machine dies. Works for
    several processes on one machine; POSIX only.
    """

    def __init__(self, root: Path, layout: Layout) -> None:
        """*root* is made when first written to."""
        super().__init__(layout)
        self._root = root

    async def get_object(self, path: str) -> tuple[bytes, str] | None:
        """See `ObjectStorage.get_object`."""
        return await asyncio.to_thread(self._get, path)

    async def put_object(self, path: str, data: bytes, expected_version: str | None) -> str:
        """See `ObjectStorage.put_object`."""
        while True:
            try:
                return await asyncio.to_thread(self._put, path, data, expected_version)
            except BlockingIOError:
                # Another writer holds the lock. Polled: waiting in a pool thread could use up the pool.
                await asyncio.sleep(random.uniform(*_LOCK_POLL_SECS))  # noqa: S311 - jitter

    async def list_objects(self, folder: str) -> AsyncGenerator[str, None]:
        """See `ObjectStorage.list_objects`."""
        for path in await asyncio.to_thread(self._list, folder):
            yield path

    def _get(self, path: str) -> tuple[bytes, str] | None:
        try:
            with (self._root / path).open("rb") as file:
                # The version of the very file being read, not of one that may replace it meanwhile.
                return file.read(), _version(os.fstat(file.fileno()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageUnavailableError(path, str(error)) from error

    def _put(self, path: str, data: bytes, expected_version: str | None) -> str:
        target = self._root / path
        try:
            with self._locked(path):
                if self._current_version(target) != expected_version:
                    raise VersionConflictError(path)
                return _replace(target, data)
        except BlockingIOError:
            raise
        except OSError as error:
            raise StorageUnavailableError(path, str(error)) from error

    def _list(self, folder: str) -> list[str]:
        base = self._root / folder
        try:
            return sorted(
                file.relative_to(self._root).as_posix()
                for file in base.rglob("*")
                if not file.name.startswith(".") and file.is_file()
            )
        except OSError as error:
            raise StorageUnavailableError(folder, str(error)) from error

    def _current_version(self, target: Path) -> str | None:
        try:
            return _version(target.stat())
        except FileNotFoundError:
            return None

    @contextmanager
    def _locked(self, path: str) -> Iterator[None]:
        """Hold the object's lock file, for one check and one rename.

        Raises:
            BlockingIOError: Somebody else holds it.
        """
        lock = self._root / _LOCKS / f"{path}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield


def _version(stat: os.stat_result) -> str:
    # Every write makes a new file; a reused inode number still has another time or size.
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"


def _replace(target: Path, data: bytes) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            version = _version(os.fstat(file.fileno()))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return version
