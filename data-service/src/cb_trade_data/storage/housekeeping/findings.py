"""What can be found in a storage that people should know of, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cb_trade_data.quality.codes import DataCode

_NEXT_REQUEST: Final = "the service sets it aside and fetches it again at the next request for it"
_FETCH_AGAIN: Final = "delete the rows with `cb-trade storage delete`; the next request fetches them again"
_LOOK: Final = "look at it, then delete it yourself: nothing reads it"


class FindingKind(StrEnum):
    """What is the matter. Names are stable: they may be added to, never renamed."""

    # Problems: what is stored is not what it should be.
    DAMAGED_PARTITION = "damaged_partition"
    DAMAGED_FACTS = "damaged_facts"
    ROWS_OUT_OF_ORDER = "rows_out_of_order"
    ROWS_OUTSIDE_PARTITION = "rows_outside_partition"
    ROWS_OFF_GRID = "rows_off_grid"
    ROWS_NOT_HELD = "rows_not_held"
    NOT_FINITE = "not_finite"
    COVERAGE_OUT_OF_ORDER = "coverage_out_of_order"
    COVERAGE_OUTSIDE_PARTITION = "coverage_outside_partition"
    WRONG_DIGEST = "wrong_digest"
    WRONG_EVIDENCE = "wrong_evidence"
    ROWS_BEFORE_LISTING = "rows_before_listing"
    NEWER_FORMAT = "newer_format"
    # Leftovers: they take space and hurt nobody.
    SET_ASIDE = "set_aside"
    FOREIGN = "foreign"
    ABANDONED = "abandoned"
    UNCOMMITTED_ENTRIES = "uncommitted_entries"

    @property
    def is_problem(self) -> bool:
        """Whether what is stored is not what it should be; leftovers only take space."""
        return self not in _LEFTOVERS

    @property
    def code(self) -> DataCode | None:
        """What it is called wherever it is found; None for leftovers, which are no data."""
        return _CODES.get(self)

    @property
    def advice(self) -> str:
        """What to do next."""
        return _ADVICE[self]


_LEFTOVERS: Final = {
    FindingKind.SET_ASIDE,
    FindingKind.FOREIGN,
    FindingKind.ABANDONED,
    FindingKind.UNCOMMITTED_ENTRIES,
}
# What cannot be read, and what is not what it says of itself, is the same: nothing can be believed of it.
_CODES: Final = dict.fromkeys([kind for kind in FindingKind if kind not in _LEFTOVERS], DataCode.UNPARSABLE) | {
    FindingKind.ROWS_OUT_OF_ORDER: DataCode.UNSORTED,
    FindingKind.ROWS_OUTSIDE_PARTITION: DataCode.OUTSIDE,
    FindingKind.ROWS_OFF_GRID: DataCode.OFF_GRID,
    FindingKind.NOT_FINITE: DataCode.NOT_A_NUMBER,
    FindingKind.ROWS_BEFORE_LISTING: DataCode.OUTSIDE,
}
_ADVICE: Final = dict.fromkeys(FindingKind, _FETCH_AGAIN) | {
    FindingKind.DAMAGED_PARTITION: _NEXT_REQUEST,
    FindingKind.DAMAGED_FACTS: "the service sets them aside and looks them up again at the next request for the series",
    FindingKind.NEWER_FORMAT: "a newer cb-trade wrote it: upgrade this one, which can neither read nor prove it",
    FindingKind.ROWS_BEFORE_LISTING: "`cb-trade fetch --refresh` a bar before that date: it is looked up again",
    FindingKind.SET_ASIDE: _LOOK,
    FindingKind.FOREIGN: "nothing reads it: if another layout or program put it there, it is theirs to use or delete",
    FindingKind.ABANDONED: "a writer died: delete it yourself, nothing reads it",
    FindingKind.UNCOMMITTED_ENTRIES: "a writer died, or is at work: nothing reads them",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        path: Of the object or the folder where it is.
        detail: What exactly, for people; empty where the kind says it all.
        count: How many there are of it there (rows, segments, objects).
    """

    kind: FindingKind
    path: str
    detail: str = ""
    count: int = 1
