from __future__ import annotations

from collections.abc import Sequence

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, epoch_ms, minute, minute_bars, minutes, quick, series, table, utc

from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.integrity import Verified
from cb_trade_data.storage.layouts import StoredObject
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.stored_partition import StoredPartition

LAYOUT = JsonLayout()
PARTITION = partition_at(series(), minute(0))
COVERAGE = Coverage(
    (
        Segment(minutes(0, 6), State.HELD),
        Segment(minutes(6, 50), State.EMPTY, minute(90), asks=2),
        Segment(minutes(50, 60), State.FAILED, minute(91), reason="HTTP 503: “overloaded” \\ \x00"),
    )
)
STORED = StoredPartition(PARTITION, minute_bars(range(6)), COVERAGE)
COMMIT = LAYOUT.encode(STORED)
ENTRIES = dict(LAYOUT.entries(STORED.rows, PARTITION))

floats = st.floats(allow_nan=False, allow_infinity=False)


def decode(
    commit: bytes = COMMIT, entries: dict[str, bytes] = ENTRIES, wanted: TimeRange | None = None
) -> StoredPartition:
    objects = [StoredObject(path, pa.py_buffer(data), "e") for path, data in entries.items()]
    return LAYOUT.decode(PARTITION, StoredObject("commit", pa.py_buffer(commit), "v1"), objects, wanted, Verified())


def whole(rows: pa.Table) -> StoredPartition:
    return StoredPartition(PARTITION, rows, Coverage((Segment(PARTITION.range, State.HELD),)))


def test_a_partition_comes_back_as_it_was_written():
    stored = decode()

    assert_same_rows(stored.rows.combine_chunks(), STORED.rows)
    assert (stored.partition, stored.coverage, stored.version) == (PARTITION, COVERAGE, "v1")


def test_the_order_in_which_entries_are_found_does_not_matter():
    assert_same_rows(decode(entries=dict(reversed(ENTRIES.items()))).rows.combine_chunks(), STORED.rows)


@quick(50)
@given(st.lists(st.tuples(*[floats] * 5), max_size=8))
def test_every_bit_of_every_number_comes_back(values: Sequence[Sequence[float]]):
    rows = table([(epoch_ms(minute(index)), *row) for index, row in enumerate(values)])

    stored = decode(LAYOUT.encode(whole(rows)), dict(LAYOUT.entries(rows, PARTITION)))

    assert_same_rows(stored.rows.combine_chunks(), rows)


def test_only_fresh_rows_need_entries():
    fresh = dict(LAYOUT.entries(minute_bars([2]), PARTITION))

    assert fresh.items() <= ENTRIES.items()
    assert len(fresh) == 1
    assert dict(LAYOUT.entries(minute_bars([]), PARTITION)) == {}


def test_a_partition_without_rows_comes_back():
    known = StoredPartition(PARTITION, minute_bars([]), Coverage(COVERAGE.segments[1:]))

    assert decode(LAYOUT.encode(known), {}).coverage == known.coverage
    assert decode(LAYOUT.encode(StoredPartition.empty(PARTITION)), {}).coverage == Coverage()


def test_a_day_can_be_read_with_its_own_entries_alone():
    of_the_day = {path: data for path, data in ENTRIES.items() if "/2024/02/29/" in path}
    wanted = TimeRange(utc("2024-02-29"), utc("2024-03-01"))

    stored = decode(entries=of_the_day, wanted=wanted)

    assert_same_rows(stored.rows.combine_chunks(), minute_bars(range(2, 6)))
    assert stored.coverage == COVERAGE


def test_the_whole_cannot_be_read_with_the_entries_of_a_day():
    with pytest.raises(ValueError, match="checksum"):
        decode(entries={path: data for path, data in ENTRIES.items() if "/2024/02/29/" in path})


def test_a_row_that_is_not_covered_is_invisible():
    more = ENTRIES | dict(LAYOUT.entries(minute_bars([-1, 6, 50, 70]), PARTITION))

    assert_same_rows(decode(entries=more).rows.combine_chunks(), STORED.rows)


def test_the_commit_is_a_document_that_people_can_read():
    document = orjson.loads(COMMIT)

    assert document["cb_trade.format"] == 1
    assert document["cb_trade.coverage"] == [segment.to_json() for segment in COVERAGE.segments]
    assert [batch[:3] for batch in document["cb_trade.batches"]] == [
        [2, epoch_ms(minute(0)), epoch_ms(minute(1))],
        [4, epoch_ms(minute(2)), epoch_ms(minute(5))],
    ]


@pytest.mark.parametrize(
    "commit",
    [b"", b"{", b"null", b"1", b"[]", b"{}", b"\xff", COMMIT[:-1], COMMIT + b"x", COMMIT.replace(b"empty", b"held")],
)
def test_what_is_no_commit_is_refused(commit):
    with pytest.raises(ValueError):  # noqa: PT011 - many words, one kind
        decode(commit)


@pytest.mark.parametrize("version", [None, 0, 2, "1", 10, [1]])
def test_another_format_version_is_refused(version):
    with pytest.raises(ValueError, match="format"):
        decode(orjson.dumps(orjson.loads(COMMIT) | {"cb_trade.format": version}))


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("damaged", ["commit", *ENTRIES])
def test_a_flipped_bit_is_noticed_or_does_not_matter_wherever_it_is(damaged, bit):
    data = COMMIT if damaged == "commit" else ENTRIES[damaged]
    wrong = []
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << bit
        try:
            if damaged == "commit":
                stored = decode(bytes(flipped))
            else:
                stored = decode(entries=ENTRIES | {damaged: bytes(flipped)})
        except ValueError:
            continue
        if not stored.rows.combine_chunks().equals(STORED.rows) or stored.coverage != COVERAGE:
            wrong.append(place)

    assert wrong == []
