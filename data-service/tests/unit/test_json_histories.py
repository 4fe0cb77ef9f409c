"""The `json` layout against a model: after any history of writes and mishaps, what was committed is there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, epoch_ms, minute, minute_bars, minutes, quick, series

from cb_trade_data.errors import StorageUnavailableError, VersionConflictError
from cb_trade_data.models.partition import partition_at
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.object_storage import Content
from cb_trade_data.storage.stored_partition import Change

PARTITION = partition_at(series(), minute(0))
FOLDER = "raw_data/binance/BTC%2FUSDT/ohlcv-1m/2024/02"

Prices = dict[int, float]

#: Minutes of two days and their prices: few of both, so that rows are restated, and restated back.
prices = st.dictionaries(st.integers(0, 4), st.sampled_from([100.0, 300.0, 700.0]), min_size=1)


class TroubledStorage(LocalFileStorage):
    """The real storage, with something happening before it commits, or afterwards, before it tidies up."""

    before_commit: Callable[[], Awaitable[None]] | None = None
    after_commit: Callable[[], Awaitable[None]] | None = None

    async def put_object(self, path: str, content: Content, expected_version: str | None) -> str:
        if self.before_commit is not None:
            await self.before_commit()
        version = await super().put_object(path, content, expected_version)
        if self.after_commit is not None:
            await self.after_commit()
        return version


class History:
    """A storage, and the model of what is committed in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._committed: Prices = {}
        self._races = 0

    async def write(self, new: Prices) -> None:
        await _write(self._storage(), new)
        self._committed |= new

    async def write_and_die_before_the_commit(self, new: Prices) -> None:
        storage = self._storage()
        storage.before_commit = _die
        with pytest.raises(StorageUnavailableError):
            await _write(storage, new)

    async def write_and_die_before_tidying_up(self, new: Prices) -> None:
        storage = self._storage()
        storage.after_commit = _die
        with pytest.raises(StorageUnavailableError):
            await _write(storage, new)
        self._committed |= new

    async def lose_a_race(self, new: Prices) -> None:
        """Against somebody who writes the same minutes, and one more, at a price that was never there."""
        self._races += 1
        storage, others = self._storage(), dict.fromkeys([*new, 9], 1000.0 + self._races)
        storage.before_commit = lambda: self.write(others)
        with pytest.raises(VersionConflictError):
            await _write(storage, new)

    async def tidy_up_late(self, new: Prices) -> None:
        """When somebody else has already written all of it anew."""
        storage, others = self._storage(), dict.fromkeys(new, 100.0)
        storage.after_commit = lambda: self.write(others)
        await _write(storage, new)
        self._committed |= others

    async def leave_strangers(self, new: Prices) -> None:
        """Put files there under the names that first documents have, where there are none."""
        for number in new:
            file = self._root / FOLDER / f"{minute(number):%d}" / f"{epoch_ms(minute(number))}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                file.write_bytes(b"a stranger's")

    async def rot(self, new: Prices) -> None:
        """Spoil documents, committed or not, and let the damage be found."""
        spoiled = [file for number in new for file in self._root.rglob(f"{epoch_ms(minute(number))}.*")]
        for file in spoiled:
            file.write_bytes(b"rotten")
        if set(new) & set(self._committed):
            await self._storage().read_partition(PARTITION)
            self._committed = {}

    async def check(self) -> None:
        storage = self._storage()
        for wanted in (None, minutes(0, 2), minutes(2, 10)):
            stored = await storage.read_partition(PARTITION, wanted)
            expected = [
                number
                for number in sorted(self._committed)
                if wanted is None or wanted.start <= minute(number) < wanted.end
            ]
            rows = stored.rows if wanted is None else stored.rows_in(wanted)
            assert_same_rows(rows.combine_chunks(), _rows(expected, self._committed))
        assert storage.damaged_objects == 0

    def _storage(self) -> TroubledStorage:
        """Return the storage as another process finds it."""
        return TroubledStorage(self._root, JsonLayout())


async def _die() -> None:
    raise StorageUnavailableError("the place", "the process has died")


async def _write(storage: LocalFileStorage, new: Prices) -> None:
    base = await storage.read_partition(PARTITION)
    held = tuple(Segment(minutes(number, number + 1), State.HELD) for number in sorted(new))
    rows = _rows(sorted(new), new)
    await storage.write_partition(base.with_changes([Change(rows, held)]), rows)


def _rows(numbers: Iterable[int], prices: Mapping[int, float]) -> pa.Table:
    bars = [minute_bars([number], prices[number]) for number in numbers]
    return pa.concat_tables([minute_bars([]), *bars]).combine_chunks()


STEPS = (
    History.write,
    History.write_and_die_before_the_commit,
    History.write_and_die_before_tidying_up,
    History.lose_a_race,
    History.tidy_up_late,
    History.leave_strangers,
    History.rot,
)


@quick(40)
@given(st.lists(st.tuples(st.sampled_from(STEPS), prices), max_size=8))
def test_what_is_committed_is_there_and_nothing_else(steps: list[tuple[Callable[..., Awaitable[None]], Prices]]):
    async def run(root: Path) -> None:
        history = History(root)
        for step, new in steps:
            await step(history, new)
            await history.check()

    # Processes die here, machines do not: nothing need reach the disk, which would take most of the time.
    with TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        asyncio.run(run(Path(root)))
