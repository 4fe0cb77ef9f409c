"""What happens when a range turns out to have gaps."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from cb_trade_client.answers import CoverageSegment
from cb_trade_client.errors import GapError
from cb_trade_client.instants import to_text

GapPolicy = Literal["raise", "warn", "ignore"]


class GapWarning(UserWarning):
    """An answer is whole but the range has gaps; `gaps` of the result tells which and why."""


def apply_gap_policy(policy: GapPolicy, name: str, gaps: Sequence[CoverageSegment]) -> None:
    """Do with *gaps* of the series *name* what *policy* says.

    Raises:
        GapError: There are some and the policy is `raise`.
    """
    if not gaps or policy == "ignore":
        return
    states = ", ".join(f"{count:,} {state}" for state, count in sorted(Counter(gap.state for gap in gaps).items()))
    text = f"{name} has gaps ({states}), the first from {to_text(gaps[0].start)} to {to_text(gaps[0].end)}"
    if policy == "raise":
        raise GapError(text, gaps)
    warnings.warn(text, GapWarning, stacklevel=2)
