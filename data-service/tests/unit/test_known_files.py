"""Files that are known: the content decides, and it is read again whenever it may have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cb_trade_data.storage.implementations import known_files
from cb_trade_data.storage.implementations.known_files import KnownFiles, content_version

LONG_AGO_NS = 1_600_000_000_000_000_000
HOUR_NS = 3_600_000_000_000


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "object"
    path.write_bytes(b"old")
    return path


@pytest.fixture
def files() -> KnownFiles:
    return KnownFiles()


@pytest.fixture
def hashed(monkeypatch) -> list[bytes]:
    """Return the contents that were hashed, one after the other."""
    hashed = []

    def version(data) -> str:
        hashed.append(bytes(data))
        return content_version(data)

    monkeypatch.setattr(known_files, "content_version", version)
    return hashed


@pytest.fixture
def later(monkeypatch):
    """Let an hour pass since the file was changed."""
    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + HOUR_NS)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_version_is_that_of_the_content(files, path, mapped):
    data, version = files.read(path, mapped=mapped)

    assert bytes(data) == b"old"
    assert version == files.version(path) == content_version(b"old") != content_version(b"new")


@pytest.mark.parametrize("mapped", [False, True])
def test_an_empty_file_is_read_like_any_other(files, path, mapped):
    path.write_bytes(b"")

    assert files.read(path, mapped=mapped)[1] == content_version(b"")


def test_a_file_that_has_not_been_touched_for_long_is_hashed_once(files, path, later, hashed):
    versions = {files.version(path), files.read(path)[1], files.read(path, mapped=True)[1], files.version(path)}

    assert versions == {content_version(b"old")}
    assert hashed == [b"old"]


def test_a_file_that_has_not_been_touched_is_mapped_once(files, path, later):
    first, _ = files.read(path, mapped=True)

    assert files.read(path, mapped=True)[0].address == first.address


def test_a_file_changed_just_now_is_hashed_each_time(files, path, monkeypatch):
    """Its times cannot tell whether it was changed twice within one tick of the file system's clock."""
    status = path.stat()
    monkeypatch.setattr(os, "fstat", lambda descriptor: status)
    monkeypatch.setattr(Path, "stat", lambda path: status)
    files.read(path, mapped=True)
    fresh = path.with_name("fresh")
    fresh.write_bytes(b"new")
    fresh.replace(path)

    assert files.version(path) == files.read(path, mapped=True)[1] == content_version(b"new")


def test_a_file_from_the_future_is_hashed_each_time(files, path, monkeypatch, hashed):
    """The clock has been set back since: it may come to that time again."""
    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns - HOUR_NS)
    files.version(path)
    files.version(path)

    assert len(hashed) == 2


@pytest.mark.parametrize("content", [b"new", b"longer"])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_that_was_replaced_is_read_again(files, path, later, content, mapped):
    before, _ = files.read(path, mapped=mapped)
    fresh = path.with_name("fresh")
    fresh.write_bytes(content)
    fresh.replace(path)

    data, version = files.read(path, mapped=mapped)
    assert (bytes(data), version) == (content, content_version(content))
    assert bytes(before) == b"old"


def test_a_file_written_in_place_is_hashed_again_although_its_time_was_put_back(files, path, later):
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    files.version(path)
    path.write_bytes(b"new")
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))

    assert files.version(path) == content_version(b"new")


def test_a_file_that_is_gone_is_not_known_any_more(files, path, later):
    files.read(path, mapped=True)
    path.unlink()

    with pytest.raises(FileNotFoundError):
        files.read(path, mapped=True)


def test_a_file_that_was_forgotten_is_hashed_again(files, path, later, hashed):
    files.version(path)
    files.forget(path)
    files.forget(path)
    files.version(path)

    assert len(hashed) == 2


def test_the_longest_unused_files_are_forgotten_beyond_a_number(files, tmp_path, later, hashed, monkeypatch):
    monkeypatch.setattr(known_files, "_REMEMBERED_MAX", 2)
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    for name in "abacba":
        files.version(tmp_path / name)

    assert b"".join(hashed) == b"abcba"


def test_the_longest_unused_mappings_are_let_go_beyond_so_many_bytes(files, tmp_path, later, hashed, monkeypatch):
    monkeypatch.setattr(known_files, "_MAPPED_MAX_BYTES", 20)
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 10)
    for name in "abacba":
        files.read(tmp_path / name, mapped=True)

    assert [each[:1] for each in hashed] == [b"a", b"b", b"c", b"b", b"a"]
