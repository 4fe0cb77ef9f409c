"""Trades: what each must be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cb_trade_data.historical.findings import Finding
from cb_trade_data.historical.kinds.rules import EventRules, Flags

_SIDES: Final = pa.array(["buy", "sell"])
# Of a name in storage, which is bounded.
_ID_MAX_BYTES: Final = 64


def _flaws(trades: pa.Table) -> Mapping[Finding, Flags]:
    """Tell for each trade whether it has no numbers, none of worth, or neither the id nor the side that it needs."""
    price, amount = (trades.column(name).to_numpy() for name in ("price", "amount"))
    id_bytes = pc.binary_length(trades.column("id")).to_numpy()
    has_side = pc.is_in(trades.column("side"), _SIDES).to_numpy()
    return {
        Finding.NOT_A_NUMBER: ~(np.isfinite(price) & np.isfinite(amount)),
        Finding.NEGATIVE: (price <= 0) | (amount <= 0),
        Finding.NAMELESS: ~((id_bytes > 0) & (id_bytes <= _ID_MAX_BYTES) & has_side),
    }


def _backwards(trades: pa.Table) -> int:
    """Return how many trades, in order of time, have a smaller id than the one before; 0 where ids are no numbers."""
    ids = trades.column("id")
    if not pc.all(pc.and_(pc.utf8_is_digit(ids), pc.less(pc.binary_length(ids), 19))).as_py():
        return 0
    return int(np.count_nonzero(np.diff(ids.cast(pa.int64()).to_numpy()) < 0))


def _at_two_times(trades: pa.Table, is_repeat: Flags) -> Flags:
    """Tell for each trade whether its id is that of another one, which happened at another time."""
    ids = trades.column("id")
    if pc.count_distinct(ids).as_py() == len(ids) - np.count_nonzero(is_repeat):
        return np.zeros(len(ids), np.bool_)  # as it nearly always is
    counts = pc.value_counts(ids.filter(pa.array(~is_repeat)))
    shared = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    return np.asarray(pc.is_in(ids, shared).to_numpy())


TRADES_RULES: Final = EventRules(
    flaws=_flaws,
    usual_silence=timedelta(days=1),
    assumed_step=timedelta(milliseconds=100),
    contradictions=_at_two_times,
    backwards=_backwards,
)
