"""A partition's lock on a local disk: numbered files, of which the newest is the lock."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.storage.implementations.renewed_lock import LEASE_SECS, RenewedLock

_PRIVATE_NAME_BYTES: Final = 8

# Of their own: behind reads and writes, whose threads may all be busy for long, a renewal could come too late.
_threads: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="locks")


class FileLock(RenewedLock):
    """Each file is held once, by whoever made it: with `flock`, which the kernel ends with its holder, and by its age.

    Whoever finds the newest file free, or not touched for the length of a lease, makes the one with the next number:
    the step that of many only one can take, however long ago they looked. It is locked before it gets its number, so
    that nobody sees it free; and no file is ever held again, so one that was seen to be over stays over. A holder that
    was stopped and wakes up finds a newer file than its own.
    """

    def __init__(self, file: Path, descriptor: int, lease_secs: float) -> None:
        super().__init__(str(file), lease_secs)
        self._file = file
        self._descriptor = descriptor

    @classmethod
    async def try_take(cls, path: Path, lease_secs: float = LEASE_SECS) -> FileLock | None:
        """Take the lock if nobody alive has it. Its files are *path* with numbers.

        Raises:
            OSError: No file can be made there.
        """
        loop = asyncio.get_running_loop()
        taking = loop.run_in_executor(_threads, _try_take, path, lease_secs)
        try:
            taken = await asyncio.shield(taking)
        except asyncio.CancelledError:
            # The thread goes on, and what it takes nobody would renew or release.
            taking.add_done_callback(_let_go)
            raise
        return None if taken is None else cls(*taken, lease_secs)

    async def _renew(self) -> bool:
        try:
            return await asyncio.get_running_loop().run_in_executor(_threads, self._touch)
        except OSError as error:
            raise StorageUnavailableError(self._name, error.strerror or type(error).__name__) from error

    def _touch(self) -> bool:
        try:
            os.utime(self._file)
            return _newest(self._file.with_suffix("")) == self._file
        except FileNotFoundError:
            return False

    async def _end(self) -> None:
        os.close(self._descriptor)


def _try_take(path: Path, lease_secs: float) -> tuple[Path, int] | None:
    """Return the file that is the lock now, and its descriptor; None if somebody has it or was quicker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    newest = _newest(path)
    if newest is not None and not _is_over(newest, lease_secs):
        return None
    mine = path.with_name(f"{path.name}.{1 if newest is None else _number(newest) + 1}")
    descriptor = _make_locked(mine, path)
    if descriptor is None:
        return None
    # Not ours if what seemed to be the newest was an old one, whose successor has been removed.
    if _newest(path) != mine:
        os.close(descriptor)
        return None
    for file in [file for file in _files(path) if _number(file) < _number(mine)] + _private_files(path):
        file.unlink(missing_ok=True)
    return mine, descriptor


def _make_locked(file: Path, path: Path) -> int | None:
    """Make *file*, locked from the start, and return its descriptor; None if somebody was quicker."""
    private = path.with_name(f".{path.name}.{secrets.token_hex(_PRIVATE_NAME_BYTES)}")
    descriptor = os.open(private, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.link(private, file)
    except OSError as error:
        os.close(descriptor)
        # Somebody has the number, or has the lock and tidied up.
        if isinstance(error, (FileExistsError, FileNotFoundError)):
            return None
        raise
    finally:
        private.unlink(missing_ok=True)
    return descriptor


def _is_over(file: Path, lease_secs: float) -> bool:
    """Tell whether nobody holds *file*, or whoever does has stopped to live."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return False  # There is a newer one.
    try:
        # A time far in the future is from before the clock was set back, and no sign of life either.
        age_secs = abs(time.time() - os.fstat(descriptor).st_mtime)
        return _is_free(descriptor) or age_secs > lease_secs
    finally:
        os.close(descriptor)


def _is_free(descriptor: int) -> bool:
    """Tell whether nobody has the file locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _newest(path: Path) -> Path | None:
    return max(_files(path), key=_number, default=None)


def _files(path: Path) -> list[Path]:
    return [file for file in path.parent.iterdir() if file.stem == path.name and file.suffix[1:].isdecimal()]


def _private_files(path: Path) -> list[Path]:
    """Return what takers are about to give a number, or were when they were killed."""
    return [file for file in path.parent.iterdir() if file.name.startswith(f".{path.name}.")]


def _number(file: Path) -> int:
    return int(file.suffix[1:])


def _let_go(taking: asyncio.Future[tuple[Path, int] | None]) -> None:
    if not taking.cancelled() and taking.exception() is None and (taken := taking.result()) is not None:
        os.close(taken[1])
