"""What every IRawDataStorage promises, whatever the place and the layout."""

from __future__ import annotations

from storage_events_contract import EventsContract, SingleObjectEventsContract
from storage_samples import MINUTES, PARTITION, known, write
from storage_survival_contract import SurvivalContract
from storage_verbs_contract import VerbsContract
from storage_versions_contract import VersionsContract
from unit_builders import minutes


class StorageContract(VerbsContract, VersionsContract, SurvivalContract, EventsContract):
    """A storage's test class inherits this and supplies what `StorageUnderTest` lacks."""


class SingleObjectContract(StorageContract, SingleObjectEventsContract):
    """What the layouts promise besides that keep a partition in one object."""

    async def test_rows_are_checked_once_for_each_version_of_their_object(self, storage, twin, checksums):
        stored = await write(storage, known(range(2, 5)))
        for _ in range(3):
            await storage.read_partition(PARTITION)
        await storage.get_range(MINUTES, minutes(2, 4))
        assert len(checksums) == 1

        await write(twin, known(range(2, 6), base=stored))
        for _ in range(3):
            await storage.read_partition(PARTITION)
        assert len(checksums) == 2

        await twin.read_partition(PARTITION)
        assert len(checksums) == 3, "another storage trusts nobody"
