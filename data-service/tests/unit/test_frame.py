"""Frames are rows as bytes: whoever puts a schema before them has an Arrow stream."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, minute_bars, quick

from cb_trade_data.models.frame import FRAME_ROWS, Stretch, frame_of, framed
from cb_trade_data.models.market import OHLCV_SCHEMA

ROWS = minute_bars(range(2 * FRAME_ROWS + 100))
WHOLE = framed(ROWS)


def read(messages) -> pa.Table:
    """Read messages as any Arrow implementation would."""
    return pa.ipc.open_stream(b"".join(map(bytes, [OHLCV_SCHEMA.serialize(), *messages]))).read_all()


@pytest.mark.parametrize("rows", [0, 1, FRAME_ROWS - 1, FRAME_ROWS, FRAME_ROWS + 1, 2 * FRAME_ROWS + 100])
def test_frames_hold_all_rows_in_order_and_none_more_than_it_should(rows):
    stretch = framed(ROWS.slice(0, rows))

    assert_same_rows(stretch.rows.combine_chunks(), ROWS.slice(0, rows).combine_chunks())
    assert_same_rows(
        read(each.message for each in stretch.frames).combine_chunks(), ROWS.slice(0, rows).combine_chunks()
    )
    assert sum(each.rows for each in stretch.frames) == rows
    assert all(each.rows <= FRAME_ROWS for each in stretch.frames)


def test_a_frame_keeps_to_the_size_of_a_message():
    assert max(each.message.size for each in WHOLE.frames) < 1024 * 1024


def test_framed_rows_lie_in_their_frames_and_nowhere_else():
    for frame, batch in zip(WHOLE.frames, WHOLE.rows.to_batches(), strict=True):
        for column in batch.columns:
            data = column.buffers()[1]
            assert frame.message.address <= data.address
            assert data.address + data.size <= frame.message.address + frame.message.size


def test_rows_in_many_pieces_of_memory_are_framed_as_if_they_were_in_one():
    pieces = pa.concat_tables([ROWS.slice(first, 1000) for first in range(0, ROWS.num_rows, 1000)])

    assert [each.message for each in framed(pieces).frames] == [each.message for each in WHOLE.frames]


@quick(60)
@given(st.lists(st.integers(0, ROWS.num_rows), min_size=2, max_size=2).map(sorted), st.data())
def test_a_part_has_the_frames_that_lie_wholly_in_it(ends, data):
    first, end = ends
    part = WHOLE.slice(first, end - first)
    inner = data.draw(st.integers(0, end - first))
    for stretch, start, stop in ((part, first, end), (part.slice(inner, end - first - inner), first + inner, end)):
        assert_same_rows(stretch.rows.combine_chunks(), ROWS.slice(start, stop - start).combine_chunks())
        whole = [number for number in range(3) if start <= number * FRAME_ROWS and WHOLE.frames[number].end <= stop]
        assert [each.message for each in stretch.frames] == [WHOLE.frames[number].message for number in whole]
        for frame in stretch.frames:
            assert_same_rows(
                read([frame.message]).combine_chunks(), stretch.rows.slice(frame.first, frame.rows).combine_chunks()
            )


def test_rows_that_are_in_no_frame_can_be_put_into_one():
    assert_same_rows(read([frame_of(ROWS.slice(5, 7))]).combine_chunks(), ROWS.slice(5, 7).combine_chunks())
    assert Stretch(ROWS).frames == ()
