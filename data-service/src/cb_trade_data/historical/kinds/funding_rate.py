"""Funding rates: what each must be, and where one must be missing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa

from cb_trade_data.historical.findings import Finding
from cb_trade_data.historical.kinds.funding_schedule import INTERVAL_MAX, believed, holes
from cb_trade_data.historical.kinds.rules import EventRules, Flags
from cb_trade_data.models.market import timestamps_ms

_HALF_HOUR_MS: Final = 1_800_000
_OFF_SCHEDULE_MS: Final = 60_000
# No exchange pays more often.
_INTERVAL_MIN: Final = timedelta(hours=1)


def _flaws(rates: pa.Table) -> Mapping[Finding, Flags]:
    """Tell for each rate whether it is no number, and whether its mark price, where it has one, is not above 0."""
    mark_price = rates.column("mark_price").to_numpy()
    return {
        Finding.NOT_A_NUMBER: ~np.isfinite(rates.column("rate").to_numpy()) | np.isinf(mark_price),
        Finding.NEGATIVE: mark_price <= 0,
    }


def _off_schedule(rates: pa.Table) -> int:
    """Return how many funding times are not those of a full hour, give or take a minute."""
    times = timestamps_ms(rates)
    beside_hour = np.abs((times + _HALF_HOUR_MS) % (2 * _HALF_HOUR_MS) - _HALF_HOUR_MS)
    return int(np.count_nonzero(beside_hour > _OFF_SCHEDULE_MS))


FUNDING_RATE_RULES: Final = EventRules(
    flaws=_flaws,
    usual_silence=INTERVAL_MAX,
    assumed_step=_INTERVAL_MIN,
    oddities=MappingProxyType({Finding.OFF_SCHEDULE: _off_schedule}),
    holes=holes,
    believed=believed,
    least_step=_INTERVAL_MIN,
)
