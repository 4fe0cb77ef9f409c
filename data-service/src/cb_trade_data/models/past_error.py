"""An error that happened: what it was, and how long ago."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PastError:
    """What went wrong the last time; it stays on record after it was put right.

    Attributes:
        at_secs: When it happened, by the process's monotonic clock.
    """

    reason: str
    at_secs: float = field(default_factory=time.monotonic)

    @property
    def age_secs(self) -> float:
        """How long ago that is."""
        return time.monotonic() - self.at_secs
