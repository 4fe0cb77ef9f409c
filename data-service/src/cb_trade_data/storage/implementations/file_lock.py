"""A partition's lock on a local disk: a locked file whose age tells whether its holder is alive."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from cb_trade_data.storage.interfaces import PartitionLock

# The same as a blob's lease: good for 15 s, renewed every 5 s.
LEASE_SECS: Final = 15.0
RENEW_SECS: Final = 5.0


class FileLock(PartitionLock):
    """Held by `flock`, which the kernel ends with its holder, and renewed by touching the file.

    A holder that is stopped but not dead keeps the kernel's lock; when it has not touched the file for the length of a
    lease, the next taker puts a new file in its place. The old holder then wakes up with a lock on nothing, which hurts
    nobody: what it writes still goes through the version check.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._renewing = asyncio.create_task(self._renew())

    @classmethod
    async def try_take(cls, path: Path) -> FileLock | None:
        """Take the lock if nobody alive has it. Raises OSError if the file cannot be made."""
        descriptor = await asyncio.to_thread(_try_lock, path)
        return None if descriptor is None else cls(path, descriptor)

    async def release(self) -> None:
        """See `PartitionLock.release`."""
        if self._renewing.cancel():
            # The next taker makes a new, and therefore young, file: an old one might look abandoned to a third.
            if _is_still_there(self._path, self._descriptor):
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECS)
            os.utime(self._descriptor)


def _try_lock(path: Path) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        expired = time.time() - os.fstat(descriptor).st_mtime > LEASE_SECS
        os.close(descriptor)
        if expired:
            with suppress(FileNotFoundError):
                path.unlink()
        return None  # The next try finds a new file.
    os.utime(descriptor)
    if not _is_still_there(path, descriptor):
        os.close(descriptor)
        return None
    return descriptor


def _is_still_there(path: Path, descriptor: int) -> bool:
    """Tell whether the file that was locked is the one that others will find."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
