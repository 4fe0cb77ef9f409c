"""Several streams read side by side in the order of time."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping

import numpy as np
import pyarrow as pa

from bar_times import Milliseconds


async def in_time_order(
    streams: Mapping[str, AsyncIterable[pa.RecordBatch]],
) -> AsyncIterator[tuple[str, pa.RecordBatch]]:
    """Yield the rows of all streams as (name, batch), none empty, so that no stream is ever ahead of another.

    Step by step, each stream gives its rows up to one common instant before any gives a later one. At most one batch of
    each stream is held; a piece of it is a view, not a copy. A stream that ends no longer holds up the others.
    """
    batches = {name: aiter(stream) for name, stream in streams.items()}
    heads: dict[str, pa.RecordBatch] = {}
    for name in batches:
        if (first := await anext(batches[name], None)) is not None:
            heads[name] = first
    while heads:
        until_ms = min(_times_ms(batch)[-1] for batch in heads.values())
        for name, batch in tuple(heads.items()):
            rows = int(np.searchsorted(_times_ms(batch), until_ms, side="right"))
            if rows:
                yield name, batch.slice(0, rows)
            rest = batch.slice(rows) if rows < batch.num_rows else await anext(batches[name], None)
            if rest is None:
                del heads[name]
            else:
                heads[name] = rest


def _times_ms(batch: pa.RecordBatch) -> Milliseconds:
    times_ms: Milliseconds = batch.column("timestamp").cast(pa.int64()).to_numpy()
    return times_ms
