"""A process that writes is killed at any instant: what it was told to be stored is there, and nothing else."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from crashing_writer import LAYOUTS, PARTITIONS, Commit, Content, commits, content_of
from nursery import Child, Nursery, running_nursery

from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage

KILLS = 34  # of each layout: more than a hundred in all


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with running_nursery("crashing_writer") as running:
        yield running


@pytest.fixture(params=["parquet", "arrow", "json"])
def layout(request) -> str:
    return request.param


class Ledger:
    """What has to be stored: everything up to the last commit that was acknowledged, and perhaps the next one."""

    def __init__(self, root: Path, layout: str) -> None:
        self.root = root
        self.layout = layout
        self.next = 0
        self._content = Content.nothing()
        self._commits = commits(layout)
        self._ahead: list[Commit] = []

    def acknowledge(self, numbers: list[bytes]) -> None:
        for number in numbers:
            assert int(number) == self.next
            self._take()

    async def check(self) -> None:
        """Compare with what another process finds, which may be one commit more, whole."""
        storage = LocalFileStorage(self.root, LAYOUTS[self.layout]())
        found = await content_of(storage)
        if not found.equals(self._content):
            self._take()
            assert found.equals(self._content), f"neither before nor after commit {self.next - 1}"
        assert storage.damaged_objects == 0
        locks = [await storage.try_lock(partition) for partition in PARTITIONS]
        assert None not in locks
        for lock in locks:
            await lock.release()

    def _take(self) -> None:
        self._content = self._content.after(next(self._commits))
        self.next += 1


def started(nursery: Nursery, ledger: Ledger, **options: int) -> Child:
    child = nursery.spawn(
        "crashing_writer:write", root=str(ledger.root), layout=ledger.layout, first=ledger.next, **options
    )
    assert child.said.readline() == b"locked\n"
    return child


async def test_after_a_kill_at_any_instant_all_that_was_acknowledged_is_there_and_nothing_else(
    nursery, tmp_path, layout
):
    dice = random.Random(11)
    ledger = Ledger(tmp_path, layout)
    for _ in range(KILLS):
        child = started(nursery, ledger, count=1000)
        ledger.acknowledge(list(islice(child.said, dice.randrange(3))))
        # The instant of the kill is what this test is about: anywhere within the next commit or two.
        kill_at = time.perf_counter() + dice.uniform(0, 0.03)
        while time.perf_counter() < kill_at:
            pass
        ledger.acknowledge(child.kill())
        await ledger.check()

    assert ledger.next > KILLS


async def test_after_a_kill_at_each_step_of_the_first_commit_it_is_there_or_not(nursery, tmp_path, layout):
    """The one that makes the folders."""
    step, said = 0, []
    while not said:
        step += 1
        ledger = Ledger(tmp_path / str(step), layout)
        said = started(nursery, ledger, count=1, die_at_step=step).wait()
        ledger.acknowledge(said)
        await ledger.check()

    assert step > 15


async def test_after_a_kill_at_each_step_of_later_commits_they_are_there_or_not_and_leave_no_litter(
    nursery, tmp_path, layout
):
    """What they had begun to write is in the way of nobody, and goes with the next write."""
    ledger = Ledger(tmp_path, layout)
    ledger.acknowledge(started(nursery, ledger, count=15).wait())
    for step in range(1, 24):
        ledger.acknowledge(started(nursery, ledger, count=2, die_at_step=step).wait())
        await ledger.check()
    ledger.acknowledge(started(nursery, ledger, count=15).wait())
    await ledger.check()

    if layout != "json":  # whose entries are never written twice: what was begun there stays
        files = [file for file in tmp_path.rglob("*") if file.is_file() and ".locks" not in file.parts]
        assert {file.name for file in files} == {f"part.{layout}", "_series.json"}
    assert len(list((tmp_path / ".locks").rglob("*.flight.*"))) == len(PARTITIONS)
