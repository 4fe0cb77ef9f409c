"""How far an answer has come."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """What has arrived of an answer so far.

    Attributes:
        rows: Rows that were handed out, or are just about to be.
        bytes: What they took on the wire.
        estimated_rows: How many rows to expect in all; None when the service does not say.
    """

    rows: int
    bytes: int
    estimated_rows: int | None


OnProgress = Callable[[Progress], None]
"""Is told once at the start and then after each batch, between the batches: it had better be quick."""
