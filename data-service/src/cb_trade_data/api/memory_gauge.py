"""How much memory this process has of its own, looked at seldom enough to cost nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_LOOK_EVERY_SECS: Final = 1.0


def own_memory_bytes() -> int:
    """Return how much memory is this process's own: pages that show a file, which can be let go, do not count.

    Raises:
        OSError: The system does not tell; only Linux does.
    """
    # proc(5): in pages; the second field is what is in memory, the third what of it shows files or is shared.
    _, resident, shared, *_ = _STATM.read_text().split()
    return (int(resident) - int(shared)) * _PAGE_BYTES


class MemoryGauge:
    """Tells whether the process holds more than it may, as it was at most a second ago."""

    def __init__(
        self,
        max_bytes: int | None,
        read_bytes: Callable[[], int] = own_memory_bytes,
        now_secs: Callable[[], float] = time.monotonic,
    ) -> None:
        """*max_bytes*: None for any, which is never looked at. *now_secs*: a clock that is never set."""
        self._max_bytes = max_bytes
        self._read_bytes = read_bytes
        self._now_secs = now_secs
        self._looks_again_at_secs = float("-inf")
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether it holds more than it may."""
        if self._max_bytes is not None and self._now_secs() >= self._looks_again_at_secs:
            self._looks_again_at_secs = self._now_secs() + _LOOK_EVERY_SECS
            self._is_over = self._read_bytes() > self._max_bytes
        return self._is_over
