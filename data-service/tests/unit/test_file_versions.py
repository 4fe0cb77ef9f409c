"""Versions of files: the content decides, and it is read again whenever it may have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cb_trade_data.storage.implementations.file_versions import FileVersions, content_version

LONG_AGO_NS = 1_600_000_000_000_000_000
HOUR_NS = 3_600_000_000_000


class Reader:
    """Counts how often the content had to be read."""

    def __init__(self, path: Path, versions: FileVersions) -> None:
        self._path = path
        self._versions = versions
        self.reads = 0

    def version(self) -> str:
        with self._path.open("rb") as file:
            return self._versions.version("name", file.fileno(), lambda: self._read(file))

    def _read(self, file) -> bytes:
        self.reads += 1
        return file.read()


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "object"
    path.write_bytes(b"old")
    return path


@pytest.fixture
def reader(path) -> Reader:
    return Reader(path, FileVersions())


@pytest.fixture
def later(monkeypatch):
    """Let an hour pass since the file was changed."""
    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + HOUR_NS)


def test_a_version_is_that_of_the_content(reader):
    assert reader.version() == content_version(b"old") != content_version(b"new")


def test_a_file_that_has_not_been_touched_for_long_is_read_once(reader, later):
    assert reader.version() == reader.version() == content_version(b"old")
    assert reader.reads == 1


def test_a_file_changed_just_now_is_read_each_time(reader, path, monkeypatch):
    """Its times cannot tell whether it was changed twice within one tick of the file system's clock."""
    status = path.stat()
    monkeypatch.setattr(os, "fstat", lambda descriptor: status)
    reader.version()
    path.write_bytes(b"new")

    assert reader.version() == content_version(b"new")


def test_a_file_from_the_future_is_read_each_time(reader, path, monkeypatch):
    """The clock has been set back since: it may come to that time again."""
    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns - HOUR_NS)
    reader.version()
    reader.version()

    assert reader.reads == 2


@pytest.mark.parametrize("content", [b"new", b"longer"])
def test_a_file_that_was_replaced_is_read_again(reader, path, later, content):
    reader.version()
    fresh = path.with_name("fresh")
    fresh.write_bytes(content)
    fresh.replace(path)

    assert reader.version() == content_version(content)


def test_a_file_written_in_place_is_read_again_although_its_time_was_put_back(reader, path, later):
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    reader.version()
    path.write_bytes(b"new")
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))

    assert reader.version() == content_version(b"new")


def test_the_oldest_versions_are_forgotten_beyond_a_bound(tmp_path, later, monkeypatch):
    monkeypatch.setattr("cb_trade_data.storage.implementations.file_versions._REMEMBERED_MAX", 2)
    path = tmp_path / "object"
    path.write_bytes(b"same")
    versions, reads = FileVersions(), []
    for name in ("first", "second", "third", "first", "third"):
        with path.open("rb") as file:
            versions.version(name, file.fileno(), lambda name=name: reads.append(name) or b"same")

    assert reads == ["first", "second", "third", "first"]
