"""Files that have not been touched since they were read: their versions, and their bytes where those are mapped."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import xxhash

from cb_trade_data.storage.layouts import StoredObject

_REMEMBERED_MAX: Final = 100_000
# Address space, not memory: the pages belong to the operating system, which takes them back when it needs them.
_MAPPED_MAX_BYTES: Final = 1 << 30
# The system allows some 65,000 mappings to a process, and others need some, too.
_MAPPINGS_MAX: Final = 4_096
# Reading costs less than mapping.
_SMALL_BYTES: Final = 64 * 1024
# The clocks of file systems tick in milliseconds, of some in seconds: a file that was changed just now may be changed
# once more without its times telling.
_SETTLED_AFTER_NS: Final = 3_000_000_000


def content_version(data: pa.Buffer | bytes) -> str:
    """Return the version that a file with this content has."""
    # What is in it, not when or where it was written: clocks can be set back, and inode numbers are used again.
    return xxhash.xxh3_128_hexdigest(data)


@dataclass(frozen=True)
class _KnownFile:
    """A file as it was read; `mapped` is None where it was not mapped."""

    signature: tuple[int, ...]
    version: str
    mapped: StoredObject | None

    @property
    def mapped_bytes(self) -> int:
        return 0 if self.mapped is None else self.mapped.data.size


class KnownFiles:
    """Reads the files below a root, and remembers each together with its inode, size and times.

    The rule is that of git's index: times tell that a file is unchanged only if they were old when it was looked at.
    Mappings are kept as well, within bounds, so that a warm read finds its pages where they are: the very same object.
    A file's bytes never change: writers replace it. May be called from any thread.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: OrderedDict[str, _KnownFile] = OrderedDict()
        self._mappings = 0
        self._mapped_bytes = 0
        self._lock = threading.Lock()

    def version(self, path: str) -> str:
        """Return the version of the file. Raises OSError if it cannot be read."""
        known = self._find(path, self._signature(path))
        return self.read(path).version if known is None else known.version

    def read(self, path: str) -> StoredObject:
        """Return the file, mapped unless it is small. Raises OSError if it cannot be read."""
        while True:
            before = self._signature(path)
            known = self._find(path, before)
            if known is not None and known.mapped is not None:
                return known.mapped
            data, is_mapped = self._content(path)
            if before == self._signature(path):  # else it was replaced in between, and which one was read is not clear
                break
        version = content_version(data) if known is None else known.version
        found = StoredObject(path, data, version)
        if time.time_ns() - _changed_at_ns(before) > _SETTLED_AFTER_NS:
            self._remember(path, _KnownFile(before, version, found if is_mapped else None))
        return found

    def forget(self, path: str) -> None:
        """Let go of what is known of the file, which is being replaced or removed."""
        with self._lock:
            self._drop(path)

    def _content(self, path: str) -> tuple[pa.Buffer, bool]:
        """Return the content of the file, and whether it is mapped."""
        with (self._root / path).open("rb") as file:
            if os.fstat(file.fileno()).st_size <= _SMALL_BYTES:
                return pa.py_buffer(file.read()), False
        try:
            # Closed again: the mapping stays for as long as its bytes are in use, and holds no descriptor.
            with pa.memory_map(str(self._root / path)) as memory:
                return memory.read_buffer(), True
        except FileNotFoundError:
            raise
        except OSError:
            # No more mappings to be had. What is kept of them may be what others lack.
            self._forget_all()
            return pa.py_buffer((self._root / path).read_bytes()), False

    def _signature(self, path: str) -> tuple[int, ...]:
        try:
            status = (self._root / path).stat()
        except OSError:
            self.forget(path)
            raise
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def _find(self, path: str, signature: tuple[int, ...]) -> _KnownFile | None:
        """Return what is known of the file, if it is still the same one."""
        with self._lock:
            known = self._known.get(path)
            if known is None:
                return None
            if known.signature != signature:
                self._drop(path)
                return None
            self._known.move_to_end(path)
            return known

    def _remember(self, path: str, known: _KnownFile) -> None:
        with self._lock:
            self._drop(path)
            self._known[path] = known
            self._mappings += known.mapped is not None
            self._mapped_bytes += known.mapped_bytes
            while self._is_beyond_bounds():
                self._drop(next(iter(self._known)))

    def _is_beyond_bounds(self) -> bool:
        return (
            len(self._known) > _REMEMBERED_MAX
            or self._mappings > _MAPPINGS_MAX
            or self._mapped_bytes > _MAPPED_MAX_BYTES
        )

    def _forget_all(self) -> None:
        with self._lock:
            self._known.clear()
            self._mappings = self._mapped_bytes = 0

    def _drop(self, path: str) -> None:
        if (known := self._known.pop(path, None)) is not None:
            self._mappings -= known.mapped is not None
            self._mapped_bytes -= known.mapped_bytes


def _changed_at_ns(signature: tuple[int, ...]) -> int:
    return signature[-1]
