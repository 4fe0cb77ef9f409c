"""Random numbers that depend on what they are for, never on what was asked before."""

from __future__ import annotations

import zlib
from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What random numbers are drawn for. The numbers are part of the seeds: add, never renumber."""

    DAYS = 1
    HOURS = 2
    MINUTES = 3
    TRADES = 4
    ORDER_BOOK = 5
    FUNDING = 6


def generator(seed: int, symbol: str, stream: Stream, moment: int = 0) -> np.random.Generator:
    """Return a fresh generator, always the same for the same arguments.

    Args:
        seed: The simulator's seed, zero or more.
        symbol: The market the numbers are for.
        stream: What they are for.
        moment: Which day, minute or second they are for, counted from 1970.
    """
    return np.random.default_rng([seed, zlib.crc32(symbol.encode()), stream, moment])
