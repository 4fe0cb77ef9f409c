"""Proof that what is stored is whole and makes sense: everything is read afresh, nothing is changed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from cb_trade_data.errors import NewerFormatError
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.series import Series
from cb_trade_data.quality.codes import DataCode
from cb_trade_data.storage.housekeeping.findings import Finding, FindingKind
from cb_trade_data.storage.housekeeping.scope import Scope
from cb_trade_data.storage.housekeeping.soundness import flaws
from cb_trade_data.storage.housekeeping.survey import FoundObject, Role, abandoned, set_aside, survey
from cb_trade_data.storage.in_order import in_order
from cb_trade_data.storage.object_storage import DamagedObjectError, ObjectStorage
from cb_trade_data.storage.series_facts import SeriesFacts

# Enough to hide a blob's latency; each holds a decoded partition, a few megabytes.
_READ_AT_ONCE: Final = 8
_LISTED_FINDINGS_MAX: Final = 1_000
# Of such a partition it is not known which entries are its own.
_UNREADABLE: Final = {FindingKind.DAMAGED_PARTITION, FindingKind.NEWER_FORMAT}


@dataclass(frozen=True)
class Examined:
    """One object after a look at it.

    Attributes:
        rows: Of a partition that could be read.
        first: Open time of its oldest row.
        facts: Of a series, where they could be read.
    """

    found: FoundObject
    rows: int = 0
    first: datetime | None = None
    facts: SeriesFacts | None = None
    findings: tuple[Finding, ...] = ()


@dataclass
class Report:
    """What a verification has found so far.

    Attributes:
        size_bytes: Of all objects of the storage.
        findings: The first thousand; `counts` has them all.
    """

    partitions: int = 0
    rows: int = 0
    size_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[FindingKind] = field(default_factory=Counter)

    @property
    def problems(self) -> int:
        """How many findings are more than leftovers."""
        return sum(count for kind, count in self.counts.items() if kind.is_problem)

    @property
    def code(self) -> DataCode | None:
        """What is the matter where there was nothing to verify: all of it may be missing. None where there was."""
        return None if self.partitions else DataCode.OBJECT_MISSING

    @property
    def is_truncated(self) -> bool:
        """Whether there are more findings than are listed."""
        return sum(self.counts.values()) > len(self.findings)

    def add(self, examined: Examined | Finding) -> None:
        """Count one more item of `verify`."""
        if isinstance(examined, Finding):
            self._list([examined])
            return
        self.partitions += examined.found.role is Role.PARTITION
        self.rows += examined.rows
        self.size_bytes += examined.found.size_bytes
        self._list(examined.findings)

    def _list(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.counts[finding.kind] += 1
            if len(self.findings) < _LISTED_FINDINGS_MAX:
                self.findings.append(finding)


async def count_partitions(storage: ObjectStorage, scope: Scope) -> int:
    """Return how many partitions a verification will read, from the listing alone."""
    async with aclosing(survey(storage, scope)) as objects:
        return sum([found.role is Role.PARTITION async for found in objects])


async def verify(storage: ObjectStorage, scope: Scope) -> AsyncGenerator[Examined | Finding, None]:
    """Yield every object with what is wrong with it, and what is wrong with more than one object as findings alone.

    Args:
        storage: One that has read nothing yet: what it has proved once it need not prove again.
    """
    current = _SeriesSoFar(None)
    async with (
        aclosing(survey(storage, scope)) as found,
        aclosing(in_order(partial(_examine, storage), found, _READ_AT_ONCE)) as objects,
    ):
        async for examined in objects:
            if examined.found.series != current.series:
                for finding in current.findings(storage):
                    yield finding
                current = _SeriesSoFar(examined.found.series)
            current.add(examined)
            yield examined
    for finding in current.findings(storage):
        yield finding
    async with aclosing(set_aside(storage, scope)) as listing:
        async for listed in listing:
            yield Finding(FindingKind.SET_ASIDE, listed.path)
    async with aclosing(abandoned(storage, scope)) as listing:
        async for listed in listing:
            yield Finding(FindingKind.ABANDONED, listed.path)


async def _examine(storage: ObjectStorage, found: FoundObject) -> Examined:
    try:
        return await _looked_at(storage, found)
    except NewerFormatError as error:
        return Examined(found, findings=(Finding(FindingKind.NEWER_FORMAT, found.path, str(error)),))


async def _looked_at(storage: ObjectStorage, found: FoundObject) -> Examined:
    match found:
        case FoundObject(role=Role.PARTITION, partition=Partition() as partition):
            return await _examine_partition(storage, found, partition)
        case FoundObject(role=Role.FACTS, series=Series() as series):
            try:
                return Examined(found, facts=await storage.inspect_facts(series))
            except DamagedObjectError as damage:
                return Examined(found, findings=(Finding(FindingKind.DAMAGED_FACTS, found.path, damage.reason),))
        case FoundObject(role=Role.FOREIGN):
            return Examined(found, findings=(Finding(FindingKind.FOREIGN, found.path),))
        case _:
            return Examined(found)


async def _examine_partition(storage: ObjectStorage, found: FoundObject, partition: Partition) -> Examined:
    try:
        stored = await storage.inspect_partition(partition)
    except DamagedObjectError as damage:
        return Examined(found, findings=(Finding(FindingKind.DAMAGED_PARTITION, found.path, damage.reason),))
    findings = tuple(await asyncio.to_thread(lambda: list(flaws(stored, found.path))))
    # Times that are wrong say nothing about the series.
    return Examined(found, stored.rows.num_rows, None if findings else stored.oldest, findings=findings)


class _SeriesSoFar:
    """What only several objects together tell about a series."""

    def __init__(self, series: Series | None) -> None:
        self.series = series
        self._first: datetime | None = None
        self._facts: SeriesFacts | None = None
        self._entries = 0
        self._rows = 0
        self._is_whole = True

    def add(self, examined: Examined) -> None:
        self._first = min(filter(None, [self._first, examined.first]), default=None)
        self._facts = self._facts or examined.facts
        self._entries += examined.found.role is Role.ENTRY
        self._rows += examined.rows
        self._is_whole &= not _UNREADABLE.intersection(finding.kind for finding in examined.findings)

    def findings(self, storage: ObjectStorage) -> Iterator[Finding]:
        if self.series is None:
            return
        listed_at = None if self._facts is None else self._facts.listed_at
        if listed_at is not None and self._first is not None and self._first < listed_at:
            yield Finding(
                FindingKind.ROWS_BEFORE_LISTING,
                storage.paths.facts_path(self.series),
                f"listed at {listed_at.isoformat()}, first row at {self._first.isoformat()}",
            )
        # Each row that was read has its entry. What a commit names that cannot be read is not told from the rest.
        if self._is_whole and self._entries > self._rows:
            count = self._entries - self._rows
            yield Finding(FindingKind.UNCOMMITTED_ENTRIES, storage.paths.series_folder(self.series), "", count)
