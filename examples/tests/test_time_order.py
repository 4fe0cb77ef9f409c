"""Streams side by side: everything, in the order of time, whatever the batches."""

import asyncio
from itertools import pairwise

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from time_order import in_time_order

TIMES = st.lists(st.integers(0, 50), max_size=30, unique=True).map(sorted)
SCHEMA = pa.schema([("timestamp", pa.timestamp("ms", tz="UTC"))])


async def stream_of(times, cuts):
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(times)}), len(times)]
    for start, end in pairwise(edges):
        if end > start:
            yield pa.record_batch([pa.array(times[start:end], SCHEMA.types[0])], SCHEMA)


async def read(streams):
    return [(name, batch.column(0).cast(pa.int64()).to_pylist()) async for name, batch in in_time_order(streams)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(TIMES, st.lists(st.integers(0, 30))), max_size=3))
def test_every_row_comes_once_and_no_stream_is_ahead_of_another(markets):
    streams = {str(number): stream_of(times, cuts) for number, (times, cuts) in enumerate(markets)}

    pieces = asyncio.run(read(streams))

    for number, (times, _) in enumerate(markets):
        assert [time for name, piece in pieces if name == str(number) for time in piece] == times
    # Once a stream goes on, all others have told what lies before.
    ends: dict[str, int] = {}
    told_until = -1
    for name, piece in pieces:
        told_until = max(told_until, ends.get(name, -1))
        ends[name] = piece[-1]
        assert piece[0] > told_until


def test_a_stream_waits_for_the_other_one():
    streams = {"long": stream_of([1, 2, 3, 4], []), "short": stream_of([2, 3], [1])}

    assert asyncio.run(read(streams)) == [
        ("long", [1, 2]),
        ("short", [2]),
        ("long", [3]),
        ("short", [3]),
        ("long", [4]),
    ]
