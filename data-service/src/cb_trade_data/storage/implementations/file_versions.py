"""Versions of files: what is in them, hashed again only when a file may have changed."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import pyarrow as pa
import xxhash

_REMEMBERED_MAX: Final = 100_000
# The clocks of file systems tick in milliseconds, of some in seconds: a file that was changed just now may be changed
# once more without its times telling.
_SETTLED_AFTER_NS: Final = 3_000_000_000


def content_version(data: pa.Buffer | bytes) -> str:
    """Return the version that a file with this content has."""
    # What is in it, not when or where it was written: clocks can be set back, and inode numbers are used again.
    return xxhash.xxh3_128_hexdigest(data)


class FileVersions:
    """Remembers the version of each file together with its inode, size and times, and forgets the oldest ones.

    The rule is that of git's index: times tell that a file is unchanged only if they were old when it was looked at.
    May be called from any thread.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[tuple[int, ...], str]] = OrderedDict()
        self._lock = threading.Lock()

    def version(self, path: str, descriptor: int, read: Callable[[], pa.Buffer | bytes]) -> str:
        """Return the version of the open file; *read* gives its content, if that is needed."""
        status = os.fstat(descriptor)
        signature = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with self._lock:
            known = self._known.get(path)
        if known is not None and known[0] == signature:
            return known[1]
        is_settled = time.time_ns() - status.st_ctime_ns > _SETTLED_AFTER_NS
        version = content_version(read())
        if is_settled:
            with self._lock:
                self._known[path] = (signature, version)
                if len(self._known) > _REMEMBERED_MAX:
                    self._known.popitem(last=False)
        return version
