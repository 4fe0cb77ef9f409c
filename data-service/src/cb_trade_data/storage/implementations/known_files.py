"""Files that have not been touched since they were read: their versions, and their bytes where those are mapped."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import xxhash

_REMEMBERED_MAX: Final = 100_000
# Address space, not memory: the pages belong to the operating system, which takes them back when it needs them.
_MAPPED_MAX_BYTES: Final = 1 << 30
# The clocks of file systems tick in milliseconds, of some in seconds: a file that was changed just now may be changed
# once more without its times telling.
_SETTLED_AFTER_NS: Final = 3_000_000_000


def content_version(data: pa.Buffer | bytes) -> str:
    """Return the version that a file with this content has."""
    # What is in it, not when or where it was written: clocks can be set back, and inode numbers are used again.
    return xxhash.xxh3_128_hexdigest(data)


@dataclass(frozen=True)
class KnownFile:
    """A file as it was read; `mapping` is None where it was not mapped."""

    signature: tuple[int, ...]
    version: str
    mapping: pa.Buffer | None


class KnownFiles:
    """Reads files, and remembers each together with its inode, size and times; forgets the oldest ones.

    The rule is that of git's index: times tell that a file is unchanged only if they were old when it was looked at.
    Mappings are kept as well, within a bound, so that a warm read finds its pages where they are. A file's bytes never
    change: writers replace it. May be called from any thread.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Path, KnownFile] = OrderedDict()
        self._mapped_bytes = 0
        self._lock = threading.Lock()

    def version(self, path: Path) -> str:
        """Return the version of the file. Raises OSError if it cannot be read."""
        known = self._find(path, _signature(path.stat()))
        return self.read(path, mapped=True)[1] if known is None else known.version

    def read(self, path: Path, *, mapped: bool = False) -> tuple[pa.Buffer, str]:
        """Return the content of the file and its version. Raises OSError if it cannot be read."""
        if mapped:
            known = self._find(path, _signature(path.stat()))
            if known is not None and known.mapping is not None:
                return known.mapping, known.version
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if mapped and status.st_size:
                data = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            else:
                data = pa.py_buffer(file.read())
        known = self._find(path, _signature(status))
        is_settled = time.time_ns() - status.st_ctime_ns > _SETTLED_AFTER_NS
        version = content_version(data) if known is None else known.version
        if is_settled:
            self._remember(path, KnownFile(_signature(status), version, data if mapped else None))
        return data, version

    def forget(self, path: Path) -> None:
        """Let go of what is known of the file, which is being replaced or removed."""
        with self._lock:
            self._drop(path)

    def _find(self, path: Path, signature: tuple[int, ...]) -> KnownFile | None:
        with self._lock:
            known = self._known.get(path)
            if known is None or known.signature != signature:
                return None
            self._known.move_to_end(path)
            return known

    def _remember(self, path: Path, known: KnownFile) -> None:
        with self._lock:
            self._drop(path)
            self._known[path] = known
            self._mapped_bytes += _mapped_bytes(known)
            while len(self._known) > _REMEMBERED_MAX or self._mapped_bytes > _MAPPED_MAX_BYTES:
                self._drop(next(iter(self._known)))

    def _drop(self, path: Path) -> None:
        if (known := self._known.pop(path, None)) is not None:
            self._mapped_bytes -= _mapped_bytes(known)


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _mapped_bytes(known: KnownFile) -> int:
    return 0 if known.mapping is None else known.mapping.size
