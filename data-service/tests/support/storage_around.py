"""Ways around a storage: places and layouts read and written by other code than ours, so that the storage's reads and
writes cannot cover for each other."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from azure.core.exceptions import ServiceRequestError
from azure.storage.blob import BlobLeaseClient, ContainerClient
from azure.storage.blob.aio import BlobClient
from unit_builders import table

from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.storage.implementations.renewed_lock import LEASE_SECS
from cb_trade_data.storage.layouts import Layout
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout


class Around(ABC):
    """A place, by other means than the storage under test."""

    @abstractmethod
    def paths(self) -> list[str]:
        """Return the path of every object that a stranger finds, hidden files included, lock files left out."""

    @abstractmethod
    def read(self, path: str) -> bytes: ...

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Write an object, new or not."""

    @abstractmethod
    def delete(self, path: str) -> None: ...

    @abstractmethod
    def failing_writes(self) -> AbstractContextManager[None]:
        """Make every write fail at its last step, as on a full disk, while the context lasts."""

    @abstractmethod
    def expire_lock(self, path: str) -> None:
        """Make the held lock of the partition at *path* look as if its holder had stopped to renew it."""

    @abstractmethod
    def is_locked(self, path: str) -> bool:
        """Tell whether somebody holds the lock of the partition at *path*."""

    def is_being_written(self, path: str) -> bool:
        """Tell whether somebody is within a write of the object that other writers have to wait for."""
        return False

    def path_of(self, end: str) -> str:
        """Return the one path that ends like this, what was set aside left out."""
        (path,) = [path for path in self.paths() if path.endswith(end) and not path.startswith("_damaged/")]
        return path

    def content(self) -> dict[str, bytes]:
        return {path: self.read(path) for path in self.paths()}


class AroundFolder(Around):
    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._monkeypatch = monkeypatch

    def paths(self) -> list[str]:
        files = (file.relative_to(self._root) for file in self._root.rglob("*") if file.is_file())
        return sorted(file.as_posix() for file in files if file.parts[0] != ".locks")

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """In a new file: what was mapped from the old one stays as it is."""
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(data)

    def delete(self, path: str) -> None:
        (self._root / path).unlink()

    @contextmanager
    def failing_writes(self) -> Iterator[None]:
        def full(*arguments: object, **options: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with self._monkeypatch.context() as patch:
            for name in ("replace", "rename", "link"):  # pathlib calls these
                patch.setattr(os, name, full)
            yield

    def expire_lock(self, path: str) -> None:
        long_ago = time.time() - LEASE_SECS - 1
        (lock,) = (self._root / ".locks").glob(f"{path}.flight.*")
        os.utime(lock, (long_ago, long_ago))

    def is_locked(self, path: str) -> bool:
        return any(_is_held(lock) for lock in (self._root / ".locks").glob(f"{path}.flight.*"))

    def is_being_written(self, path: str) -> bool:
        return _is_held(self._root / ".locks" / f"{path}.lock")


class AroundContainer(Around):
    def __init__(self, container: ContainerClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self._container = container
        self._monkeypatch = monkeypatch

    def paths(self) -> list[str]:
        if not self._container.exists():
            return []
        return sorted(name for name in self._container.list_blob_names() if not name.startswith("_locks/"))

    def read(self, path: str) -> bytes:
        return self._container.download_blob(path).readall()

    def write(self, path: str, data: bytes) -> None:
        if not self._container.exists():
            self._container.create_container()
        self._container.upload_blob(path, data, overwrite=True)

    def delete(self, path: str) -> None:
        self._container.delete_blob(path)

    @contextmanager
    def failing_writes(self) -> Iterator[None]:
        async def unreachable(*arguments: object, **options: object) -> None:
            raise ServiceRequestError("nobody answers")

        with self._monkeypatch.context() as patch:
            patch.setattr(BlobClient, "upload_blob", unreachable)
            yield

    def expire_lock(self, path: str) -> None:
        BlobLeaseClient(self._container.get_blob_client(f"_locks/{path}")).break_lease(0)

    def is_locked(self, path: str) -> bool:
        lock = self._container.get_blob_client(f"_locks/{path}")
        return bool(lock.get_blob_properties().lease.state != "available")


class Form(ABC):
    """A layout, by other means than ours. For stored series of the exchange `binance`.

    Attributes:
        root: The folder in which every object of the exchange lies.
        commit_end: How the paths of the objects that commit a partition end.
        numbers_of_two_batches: Minutes of the tests that lie in two batches of their partition, or more.
    """

    root: str
    commit_end: str
    numbers_of_two_batches: range

    @abstractmethod
    def layout(self) -> Layout:
        """Return the layout under test."""

    @abstractmethod
    def rows(self, around: Around) -> pa.Table:
        """Return all rows that are stored, in the order of their files' names."""

    @abstractmethod
    def of_a_later_format(self, data: bytes) -> bytes:
        """Return the committing object as a later release might write it: with other columns, or other words."""

    @abstractmethod
    def objects(self, rows: int) -> int:
        """Return how many objects a partition of so many rows is."""


class _HiveForm(Form):
    root = "ohlcv/exchange=binance/"
    numbers_of_two_batches = range(-10_000, 0)

    def rows(self, around: Around) -> pa.Table:
        parts = [
            self._table(around.read(path)).cast(OHLCV_SCHEMA).replace_schema_metadata(None)
            for path in around.paths()
            if path.endswith(self.commit_end)
        ]
        return pa.concat_tables([OHLCV_SCHEMA.empty_table(), *parts])

    def objects(self, rows: int) -> int:
        return 1

    @abstractmethod
    def _table(self, data: bytes) -> pa.Table: ...


class ParquetForm(_HiveForm):
    commit_end = "/part.parquet"

    def layout(self) -> Layout:
        return ParquetLayout()

    def of_a_later_format(self, data: bytes) -> bytes:
        sink = io.BytesIO()
        pq.write_table(_later(self._table(data)), sink)
        return sink.getvalue()

    def _table(self, data: bytes) -> pa.Table:
        return pq.ParquetFile(io.BytesIO(data)).read()


class ArrowForm(_HiveForm):
    commit_end = "/part.arrow"

    def layout(self) -> Layout:
        return ArrowLayout()

    def of_a_later_format(self, data: bytes) -> bytes:
        rows = _later(self._table(data))
        sink = io.BytesIO()
        with pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        return sink.getvalue()

    def _table(self, data: bytes) -> pa.Table:
        return pa.ipc.open_file(io.BytesIO(data)).read_all()


class JsonForm(Form):
    root = "raw_data/binance/"
    commit_end = "/_coverage.json"
    numbers_of_two_batches = range(4)

    def layout(self) -> Layout:
        return JsonLayout()

    def rows(self, around: Around) -> pa.Table:
        documents = [
            orjson.loads(around.read(path))
            for path in around.paths()
            if path.startswith(self.root) and not path.rsplit("/", 1)[-1].startswith("_")
        ]
        return table([[document[name] for name in OHLCV_SCHEMA.names] for document in documents])

    def of_a_later_format(self, data: bytes) -> bytes:
        return orjson.dumps({"cb_trade.format": 2, "rows": orjson.loads(data)})

    def objects(self, rows: int) -> int:
        return rows + 1


def _is_held(file: Path) -> bool:
    with file.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _later(rows: pa.Table) -> pa.Table:
    return rows.select(rows.schema.names[:-1]).replace_schema_metadata({b"cb_trade.format": b"2"})
