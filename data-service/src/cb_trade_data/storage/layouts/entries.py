"""Entries: rows that are objects of their own, written before the object that commits them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.path_utility import EntryPaths


@dataclass(frozen=True)
class EntryPlan:
    """Where the rows of a partition that is to be written have their entries.

    An entry is made once and never changed, so that neither a reader of the committed version nor another writer finds
    something else under a name that it knows.

    Attributes:
        paths: Of the entry of each row, in the order of the rows.
        documents: What is still to be made: path and bytes.
        committed: The paths that the committed version names.
    """

    paths: tuple[str, ...] = ()
    documents: Mapping[str, bytes] = field(default_factory=dict)
    committed: Collection[str] = ()

    def renamed(self, occupied: Collection[str], nonce: str) -> EntryPlan:
        """Return the plan when all is made but the *occupied* paths, of which other ones take the place.

        Args:
            nonce: Never used before by anybody.
        """
        moved = {path: EntryPaths.renamed_entry(path, nonce) for path in occupied}
        return replace(
            self,
            paths=tuple(moved.get(path, path) for path in self.paths),
            documents={moved[path]: self.documents[path] for path in occupied},
        )

    @property
    def superseded(self) -> list[str]:
        """The entries that nobody needs once the plan is committed."""
        kept = set(self.paths)
        return [path for path in self.committed if path not in kept]


class RowsInside:
    """A layout whose rows are all inside the committing object, and whose metadata is at its end."""

    has_entries = False
    has_footer = True
    has_parts = False

    def bytes_of(self, stored: Any, wanted: TimeRange) -> range:  # noqa: ARG002
        """See `Layout.bytes_of`."""
        raise ValueError("all of them")

    def entry_paths(self, partition: Partition, stored: object, wanted: TimeRange | None) -> Sequence[str]:  # noqa: ARG002
        """See `Layout.entry_paths`."""
        return ()

    def plan_entries(self, stored: object, fresh: object, committed: object) -> EntryPlan:  # noqa: ARG002
        """See `Layout.plan_entries`."""
        return EntryPlan()
