"""Scores: how good bars are, and what says so. Pure; where time is known, and how far, is told by who asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cb_trade_data.quality.evidence import Found

# What each bar that is missing at the end takes away.
_STALER_BY: Final = 0.1


@dataclass(frozen=True)
class Measures:
    """What scores are made of, of some time. Those of several times add up to those of all of them.

    Attributes:
        expected_bars: How many there may be: closed ones, while the market was listed.
        held_bars: How many of them are settled by what is stored: there, or known never to have been made.
        found: What was found in the rows of these; None where nobody has looked.
        compared_bars: How many bars there are, of those that could be compared with bars made of something else.
        differing_bars: How many of them differ.
    """

    expected_bars: int = 0
    held_bars: int = 0
    found: Found | None = field(default_factory=Found)
    compared_bars: int = 0
    differing_bars: int = 0

    @property
    def holes(self) -> int | None:
        """How many bars were never made; None where nobody has looked at the rows."""
        return None if self.found is None else max(0, self.held_bars - self.found.rows)

    def __add__(self, other: Measures) -> Measures:
        return Measures(
            self.expected_bars + other.expected_bars,
            self.held_bars + other.held_bars,
            None if self.found is None or other.found is None else self.found + other.found,
            self.compared_bars + other.compared_bars,
            self.differing_bars + other.differing_bars,
        )


@dataclass(frozen=True)
class Scores:
    """Each from 0 to 1; None where there is nothing to say.

    Attributes:
        completeness: Held of the expected bars.
        consistency: Rows that are not flagged, of all of them.
        freshness: 1 where the newest closed bar is held, less a tenth for each bar behind it.
        accuracy: Bars that agree, of those compared.
    """

    completeness: float | None = None
    consistency: float | None = None
    freshness: float | None = None
    accuracy: float | None = None

    @classmethod
    def of(cls, measures: Measures, bars_behind: int | None = None) -> Scores:
        """Return what *measures* make.

        Args:
            bars_behind: How many closed bars come after the newest held one of the series; None where there is none,
                or where that says nothing of the time that is measured.
        """
        found = measures.found
        return cls(
            completeness=_share(measures.held_bars, measures.expected_bars),
            consistency=None if found is None else _share(found.rows - found.flagged_rows, found.rows),
            freshness=None if bars_behind is None else round(max(0.0, 1 - _STALER_BY * bars_behind), 1),
            accuracy=_share(measures.compared_bars - measures.differing_bars, measures.compared_bars),
        )

    @property
    def by_name(self) -> Mapping[str, float | None]:
        """The four of them."""
        return vars(self)

    @property
    def lowest(self) -> str | None:
        """The name of the lowest of those that there are, the first of several; None where there is none."""
        there = {name: score for name, score in self.by_name.items() if score is not None}
        return min(there, key=there.__getitem__, default=None)

    @property
    def overall(self) -> float | None:
        """The lowest of those that there are: a series is used as a whole, and a mean would hide what is missing."""
        return None if self.lowest is None else self.by_name[self.lowest]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
