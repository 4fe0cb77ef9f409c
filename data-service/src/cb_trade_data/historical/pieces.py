"""A partition that is read piece by piece, while others may change it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import zip_longest

from cb_trade_data.errors import PartitionChangedError
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.stored_partition import StoredPartition


async def read_by_pieces(
    storage: IStorageManager,
    begun_with: StoredPartition,
    first: TimeRange,
    pieces: Sequence[TimeRange],
    still_tells: Callable[[TimeRange, StoredPartition], bool],
) -> AsyncGenerator[tuple[TimeRange, StoredPartition], None]:
    """Yield each of *pieces* with what is stored of it, oldest first. To be closed if left early.

    While one is made use of, the next one is read, so that two are held at a time.

    A day that is not over grows while it is read, so that another version is no reason to end: only if it does not tell
    any more of a piece what the first one did.

    Args:
        begun_with: Read with *first*, which may be one of the pieces.
        pieces: See `pieces_of`.
        still_tells: Whether another version does, of a piece.

    Raises:
        PartitionChangedError: It does not.
        StorageUnavailableError: It cannot be read.
    """
    following: asyncio.Task[StoredPartition] | None = None
    try:
        for piece, next_piece in zip_longest(pieces, pieces[1:]):
            stored = begun_with
            if piece != first:
                stored = await (following or storage.read(begun_with.partition, piece))
                # By the first version, not by the one before: that may have been good enough for its own piece only.
                if stored.version != begun_with.version and not still_tells(piece, stored):
                    raise PartitionChangedError(str(stored.partition))
            following = None
            if next_piece is not None:
                following = asyncio.create_task(storage.read(begun_with.partition, next_piece))
            yield piece, stored
    finally:
        if following is not None:
            following.cancel()
            following.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody wants to know
