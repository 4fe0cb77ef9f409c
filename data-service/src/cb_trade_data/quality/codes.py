"""Everything that can be the matter with data, each with a code that never changes: added to, never renamed."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """What becomes of it."""

    REJECTED = "rejected"  # the row is not stored
    REFUSED = "refused"  # nor is anything else of the answer or object it is in, which is asked for again
    FLAGGED = "flagged"  # the row is stored, and counted
    REPORTED = "reported"  # there is no row


class DataCode(StrEnum):
    """What is the matter; `docs/reference/data-quality.md` tells all of them to people."""

    OBJECT_MISSING = "DATA-001"
    UNPARSABLE = "DATA-002"
    EMPTY = "DATA-003"
    OUTSIDE = "DATA-004"
    OHLC_VIOLATED = "DATA-005"
    NEGATIVE = "DATA-006"
    DUPLICATE = "DATA-007"
    OFF_GRID = "DATA-008"
    PRICE_OUTLIER = "DATA-009"
    COLUMN_MISSING = "DATA-010"
    BAD_TIMESTAMP = "DATA-011"
    GAP = "DATA-012"
    CONFIGURATION_MISSING = "DATA-013"
    NOT_A_NUMBER = "DATA-014"
    CONFLICT = "DATA-015"
    UNSORTED = "DATA-016"
    FUTURE = "DATA-017"
    OPEN = "DATA-018"
    VOLUME_OUTLIER = "DATA-019"
    FLAT_RUN = "DATA-020"
    STALE_REPEAT = "DATA-021"
    OTHER_UNIT = "DATA-022"
    WRONG_TYPE = "DATA-023"
    NO_ZONE = "DATA-024"
    BACKWARDS = "DATA-025"
    OFF_SCHEDULE = "DATA-026"
    NOT_COVERED = "DATA-027"
    NAMELESS = "DATA-028"

    @property
    def verdict(self) -> Verdict:
        """What becomes of a row that it is said of."""
        return _VERDICTS.get(self, Verdict.REJECTED)


_VERDICTS: Final = {
    DataCode.OBJECT_MISSING: Verdict.REPORTED,
    DataCode.UNPARSABLE: Verdict.REFUSED,
    DataCode.EMPTY: Verdict.REPORTED,
    DataCode.PRICE_OUTLIER: Verdict.FLAGGED,
    DataCode.COLUMN_MISSING: Verdict.REFUSED,
    DataCode.GAP: Verdict.REPORTED,
    DataCode.CONFIGURATION_MISSING: Verdict.REPORTED,
    DataCode.UNSORTED: Verdict.FLAGGED,
    DataCode.VOLUME_OUTLIER: Verdict.FLAGGED,
    DataCode.FLAT_RUN: Verdict.FLAGGED,
    DataCode.STALE_REPEAT: Verdict.FLAGGED,
    DataCode.OTHER_UNIT: Verdict.FLAGGED,
    DataCode.WRONG_TYPE: Verdict.REFUSED,
    DataCode.NO_ZONE: Verdict.REFUSED,
    DataCode.BACKWARDS: Verdict.FLAGGED,
    DataCode.OFF_SCHEDULE: Verdict.FLAGGED,
    DataCode.NOT_COVERED: Verdict.REPORTED,
}
