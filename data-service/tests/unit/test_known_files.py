"""Files that are known: the content decides, and it is read again whenever it may have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from cb_trade_data.storage.implementations import known_files
from cb_trade_data.storage.implementations.known_files import KnownFiles, content_version

LONG_AGO_NS = 1_600_000_000_000_000_000
HOUR_NS = 3_600_000_000_000
NAME = "folder/object"


needs_proc = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")


def mappings() -> str:
    return Path("/proc/self/maps").read_text()


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / NAME
    path.parent.mkdir()
    path.write_bytes(b"old")
    return path


@pytest.fixture
def files(tmp_path) -> KnownFiles:
    return KnownFiles(tmp_path)


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


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    """Map files of a few bytes, too."""
    monkeypatch.setattr(known_files, "_SMALL_BYTES", 0)


def test_a_version_is_that_of_the_content(files, path):
    found = files.read(NAME)

    assert (found.path, bytes(found.data)) == (NAME, b"old")
    assert found.version == files.version(NAME) == content_version(b"old") != content_version(b"new")


def test_an_empty_file_is_read_like_any_other(files, path):
    path.write_bytes(b"")

    assert files.read(NAME).version == content_version(b"")


def test_a_file_that_has_not_been_touched_for_long_is_hashed_once(files, path, later, hashed):
    found = [files.version(NAME), files.read(NAME).version, files.version(NAME)]

    assert set(found) == {content_version(b"old")}
    assert hashed == [b"old"]


def test_a_file_that_has_not_been_touched_is_mapped_once(files, path, later):
    assert files.read(NAME) is files.read(NAME)


def test_a_small_file_is_read_each_time_and_never_mapped(files, path, later, monkeypatch):
    monkeypatch.setattr(known_files, "_SMALL_BYTES", 3)

    assert files.read(NAME) is not files.read(NAME)


def test_a_file_changed_just_now_is_hashed_each_time(files, path, monkeypatch):
    """Its times cannot tell whether it was changed twice within one tick of the file system's clock."""
    status = path.stat()
    monkeypatch.setattr(Path, "stat", lambda path: status)
    files.read(NAME)
    fresh = path.with_name("fresh")
    fresh.write_bytes(b"new")
    fresh.replace(path)

    assert files.version(NAME) == files.read(NAME).version == content_version(b"new")


def test_a_file_from_the_future_is_hashed_each_time(files, path, monkeypatch, hashed):
    """The clock has been set back since: it may come to that time again."""
    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns - HOUR_NS)
    files.version(NAME)
    files.version(NAME)

    assert len(hashed) == 2


@pytest.mark.parametrize("content", [b"new", b"longer"])
def test_a_file_that_was_replaced_is_read_again(files, path, later, content):
    before = files.read(NAME)
    fresh = path.with_name("fresh")
    fresh.write_bytes(content)
    fresh.replace(path)

    found = files.read(NAME)
    assert (bytes(found.data), found.version) == (content, content_version(content))
    assert bytes(before.data) == b"old"


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(files, path, later, monkeypatch):
    """Which of the two was read would not be clear."""
    opened, contents = Path.open, iter([b"new", b"newer"])

    def replaced(self, mode: str):
        if (content := next(contents, None)) is not None:
            fresh = path.with_name("fresh")
            with opened(fresh, "wb") as file:
                file.write(content)
            fresh.replace(path)
        return opened(self, mode)

    monkeypatch.setattr(Path, "open", replaced)

    found = files.read(NAME)
    assert (bytes(found.data), found.version) == (b"newer", content_version(b"newer"))


def test_a_file_written_in_place_is_hashed_again_although_its_time_was_put_back(files, path, later):
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    files.version(NAME)
    path.write_bytes(b"new")
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))

    assert files.version(NAME) == content_version(b"new")


@needs_proc
def test_a_file_that_is_gone_is_not_known_any_more_and_its_room_is_free(files, path, later):
    address = files.read(NAME).data.address
    assert str(path) in mappings()
    path.unlink()

    with pytest.raises(FileNotFoundError):
        files.read(NAME)
    assert str(path) not in mappings()
    assert address


def test_a_file_that_was_forgotten_is_hashed_again(files, path, later, hashed):
    files.version(NAME)
    files.forget(NAME)
    files.forget(NAME)
    files.version(NAME)

    assert len(hashed) == 2


@needs_proc
def test_a_mapping_holds_no_descriptor(files, path, later):
    """A process may have a thousand of these, and a thousand partitions are not many."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    kept = files.read(NAME)

    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert str(path) in mappings()
    assert bytes(kept.data) == b"old"


@needs_proc
def test_where_no_mapping_can_be_had_the_file_is_read(files, path, later, tmp_path, monkeypatch):
    (tmp_path / "other").write_bytes(b"other")
    files.read("other")

    def refuse(path: str) -> None:
        raise OSError("Memory mapping file failed: Cannot allocate memory")

    monkeypatch.setattr(pa, "memory_map", refuse)

    assert bytes(files.read(NAME).data) == b"old"
    assert str(tmp_path / "other") not in mappings()


def written(folder: Path, names: str) -> None:
    for name in names:
        (folder / name).write_bytes(name.encode() * 10)


def test_the_longest_unused_files_are_forgotten_beyond_a_number(files, tmp_path, later, hashed, monkeypatch):
    monkeypatch.setattr(known_files, "_REMEMBERED_MAX", 2)
    written(tmp_path, "abc")
    for name in "abacba":
        files.version(name)

    assert b"".join(each[:1] for each in hashed) == b"abcba"


@needs_proc
@pytest.mark.parametrize(("bound", "most"), [("_MAPPED_MAX_BYTES", 20), ("_MAPPINGS_MAX", 2)])
def test_the_longest_unused_mappings_are_let_go_beyond_a_bound(
    files, tmp_path, later, hashed, monkeypatch, bound, most
):
    monkeypatch.setattr(known_files, bound, most)
    written(tmp_path, "abc")
    for name in "abacba":
        files.read(name)

    assert b"".join(each[:1] for each in hashed) == b"abcba"
    assert sum(str(tmp_path / name) in mappings() for name in "abc") == 2
