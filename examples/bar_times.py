"""When bars open: a timeframe's steps through time, calendar months as well."""

import re

import numpy as np
from numpy.typing import NDArray

Milliseconds = NDArray[np.int64]

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


def bars_later(opens_ms: Milliseconds, timeframe: str, bars: int = 1) -> Milliseconds:
    """Return the open times *bars* bars after (or, if negative, before) each of *opens_ms*.

    Args:
        opens_ms: Open times of bars, milliseconds since 1970 UTC.
        timeframe: Such as `1m`, `4h`, `1d`, `1w` or `1M`, which is a calendar month.

    Raises:
        ValueError: *timeframe* is not written like that.
    """
    match = re.fullmatch(r"([1-9]\d*)([smhdwM])", timeframe)
    if match is None:
        raise ValueError(f"{timeframe!r} is no timeframe; write 1m, 5m, 1h, 1d, 1w, 1M, …")
    steps = int(match[1]) * bars
    if match[2] == "M":
        months = opens_ms.astype("datetime64[ms]").astype("datetime64[M]") + steps
        return months.astype("datetime64[ms]").astype(np.int64)
    return opens_ms + steps * _UNIT_MS[match[2]]
