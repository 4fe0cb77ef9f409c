"""The rules that each kind without bars has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.historical.validation import Finding
from cb_trade_data.models.time_range import TimeRange

Flags: TypeAlias = npt.NDArray[np.bool_]
TimesMs: TypeAlias = npt.NDArray[np.int64]


def _nothing(times_ms: TimesMs, answered: TimeRange) -> Iterable[TimeRange]:  # noqa: ARG001
    return ()


@dataclass(frozen=True)
class EventRules:
    """What is known of the rows of a kind.

    Attributes:
        sanity: Tells for each row whether its numbers are finite, and whether it is possible.
        oddities: Counts, by what it is, what is odd in rows in order, and kept all the same.
        holes: Tells where rows must be missing, given the times at which there are some, ascending and unique, and the
            range of which the exchange has told all that it has.
        usual_silence: For so long there may be no row without anybody wondering whether the market was there yet.
        assumed_step: How far rows are apart, for the order in which requests are served.
        least_step: How close to each other they can be at most; None where several may be of one time.
    """

    sanity: Callable[[pa.Table], tuple[Flags, Flags]]
    usual_silence: timedelta
    assumed_step: timedelta
    oddities: Mapping[Finding, Callable[[pa.Table], int]] = field(default_factory=lambda: MappingProxyType({}))
    holes: Callable[[TimesMs, TimeRange], Iterable[TimeRange]] = _nothing
    least_step: timedelta | None = None
