"""Numbers with a fraction as exchanges write them."""

from __future__ import annotations

import numpy as np


def decimals(value: float, places: int = 0) -> str:
    """Return the shortest decimals that `float()` reads as *value*, with at least *places* after the point.

    There is never an exponent, and no point where there is nothing after it.

    >>> decimals(7.5e-05), decimals(0.0001, 8), decimals(2.0)
    ('0.000075', '0.00010000', '2')
    """
    if not places:
        return np.format_float_positional(value, trim="-")
    return np.format_float_positional(value, trim="k", min_digits=places)
