"""How far an answer has come."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """What has arrived of an answer so far.

    Attributes:
        rows: Rows that were handed out, or are just about to be.
        bytes: What they took on the wire.
        estimated_rows: How many rows to expect in all; None when the service does not say, as for kinds without bars.
        start: Inclusive start of the range that is answered.
        end: Exclusive end of it.
        until: Exclusive end of what has arrived; *start* before the first batch.
    """

    rows: int
    bytes: int
    estimated_rows: int | None
    start: datetime
    end: datetime
    until: datetime


OnProgress = Callable[[Progress], None]
"""Is told once at the start and then after each batch, between the batches: it had better be quick."""
