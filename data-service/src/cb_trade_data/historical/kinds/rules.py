"""The rules that each kind without bars has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.historical.findings import Finding
from cb_trade_data.models.time_range import TimeRange

Flags: TypeAlias = npt.NDArray[np.bool_]
TimesMs: TypeAlias = npt.NDArray[np.int64]


def _none(rows: pa.Table, is_repeat: Flags) -> Flags:  # noqa: ARG001
    return np.zeros(rows.num_rows, np.bool_)


def _never(rows: pa.Table) -> int:  # noqa: ARG001
    return 0


def _border(times_ms: TimesMs, *, newest_first: bool) -> int:
    # Of the time at which it was cut, there may be more than had room.
    return int(times_ms[0]) + 1 if newest_first else int(times_ms[-1])


class Believed(Protocol):
    """See `EventRules.believed`."""

    def __call__(self, times_ms: TimesMs, *, newest_first: bool) -> int: ...


@dataclass(frozen=True)
class EventRules:
    """What is known of the rows of a kind.

    Attributes:
        flaws: Tells for each row what makes it impossible, by what that is; a row counts for the first that it has.
        oddities: Counts, by what it is, what is odd in rows in order, and kept all the same.
        holes: Tells where rows must be missing, given the times at which there are some, ascending and unique, and the
            range of which the exchange has told all that it has; None where nobody can tell.
        contradictions: Tells for each row whether another one says something else of the same thing at another time,
            given rows in order, and which of them are repeats. A page without a flaw whose rows increase is not asked.
        backwards: Counts the rows that a later one comes before, by the exchange's own count, given rows in order;
            asked likewise.
        believed: Tells up to which time a page is believed that was cut behind its last row; of an exchange that sends
            the newest first, from which time on. The times of its rows are ascending, unique, and two or more.
        usual_silence: For so long there may be no row without anybody wondering whether the market was there yet.
        assumed_step: How far rows are apart, for the order in which requests are served.
        least_step: How close to each other they can be at most; None where several may be of one time.
    """

    flaws: Callable[[pa.Table], Mapping[Finding, Flags]]
    usual_silence: timedelta
    assumed_step: timedelta
    oddities: Mapping[Finding, Callable[[pa.Table], int]] = field(default_factory=lambda: MappingProxyType({}))
    holes: Callable[[TimesMs, TimeRange], Iterable[TimeRange]] | None = None
    contradictions: Callable[[pa.Table, Flags], Flags] = _none
    backwards: Callable[[pa.Table], int] = _never
    believed: Believed = _border
    least_step: timedelta | None = None
