from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, epoch_ms, minute, minute_bars, minutes, quick, series, table, utc

from cb_trade_data.errors import NewerFormatError
from cb_trade_data.models.digest import unit_digests
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.integrity import Verified, bytes_checksum
from cb_trade_data.storage.layouts import StoredObject
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.metadata import inspected
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
STORED_DIGESTS = unit_digests(STORED.rows, PARTITION.series)
STORED_EVIDENCE = inspected(STORED)
PLAN = LAYOUT.plan_entries(STORED, STORED.rows, None)
ENTRIES = PLAN.documents
COMMIT = LAYOUT.encode(STORED, PLAN.paths)

floats = st.floats(allow_nan=False, allow_infinity=False)


def commit_object(data: bytes) -> StoredObject:
    return StoredObject("commit", pa.py_buffer(data), "v1")


def decode(
    commit: bytes = COMMIT, entries: Mapping[str, bytes] = ENTRIES, wanted: TimeRange | None = None
) -> StoredPartition:
    return LAYOUT.decode(PARTITION, commit_object(commit), entries, wanted, Verified())


def resealed(**changes: object) -> bytes:
    """Return the commit with other content, and a checksum that fits it."""
    document = orjson.loads(COMMIT) | {f"cb_trade.{name}": value for name, value in changes.items()}
    parts = [orjson.dumps(document[f"cb_trade.{name}"]) for name in ("coverage", "batches", "entries")]
    return orjson.dumps(document | {"cb_trade.checksum": bytes_checksum(b"".join(parts))})


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

    plan = LAYOUT.plan_entries(whole(rows), rows, None)
    stored = decode(LAYOUT.encode(whole(rows), plan.paths), plan.documents)

    assert_same_rows(stored.rows.combine_chunks(), rows)


def test_only_fresh_rows_need_documents():
    plan = LAYOUT.plan_entries(STORED, minute_bars([2]), commit_object(COMMIT))

    assert plan.paths == PLAN.paths
    assert plan.documents == {PLAN.paths[2]: ENTRIES[PLAN.paths[2]]}
    assert plan.superseded == []


def test_a_row_that_the_commit_does_not_know_needs_a_document_whether_it_is_called_fresh_or_not():
    more = replace(STORED, rows=minute_bars(range(8)))

    plan = LAYOUT.plan_entries(more, minute_bars([7]), commit_object(COMMIT))

    assert [path.rsplit("/", 1)[1] for path in plan.documents] == ["1709165040000.json", "1709165100000.json"]


def test_a_document_whose_name_is_taken_gets_another_name_of_the_same_row():
    taken = PLAN.paths[2]

    plan = PLAN.renamed([taken], "nonce")

    other = taken.replace(".json", ".nonce.json")
    assert plan.paths == (*PLAN.paths[:2], other, *PLAN.paths[3:])
    assert plan.documents == {other: ENTRIES[taken]}
    assert plan.renamed([other], "next").paths[2] == taken.replace(".json", ".next.json")


def test_the_name_of_a_later_document_stays_known_to_its_row():
    later = PLAN.renamed(PLAN.paths[2:4], "nonce")
    commit = LAYOUT.encode(STORED, later.paths)

    plan = LAYOUT.plan_entries(STORED, minute_bars([]), commit_object(commit))

    assert (plan.paths, dict(plan.documents), plan.superseded) == (later.paths, {}, [])


def test_documents_that_nothing_needs_any_more_are_superseded():
    plan = LAYOUT.plan_entries(STORED, minute_bars([2]), commit_object(COMMIT)).renamed([PLAN.paths[2]], "nonce")

    assert plan.superseded == [PLAN.paths[2]]


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


def test_the_commit_says_which_entries_a_part_needs():
    wanted = TimeRange(utc("2024-02-29"), utc("2024-03-01"))

    assert LAYOUT.entry_paths(PARTITION, commit_object(COMMIT), None) == list(PLAN.paths)
    assert LAYOUT.entry_paths(PARTITION, commit_object(COMMIT), wanted) == list(PLAN.paths[2:])


@pytest.mark.parametrize("path", PLAN.paths)
def test_no_entry_may_be_missing(path):
    with pytest.raises(ValueError, match=path):
        decode(entries={other: data for other, data in ENTRIES.items() if other != path})


def test_what_the_commit_does_not_name_is_passed_over():
    beside = LAYOUT.plan_entries(whole(minute_bars([-1, 6, 50, 70])), minute_bars([]), None).documents

    assert_same_rows(decode(entries={**ENTRIES, **beside}).rows.combine_chunks(), STORED.rows)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [["1709164680000", "1709164740000"]],
        [["1709164680000"], ["1709164800000"] * 4],
        [["../../../../../../secret", "x"], ["1709164800000"] * 4],
    ],
)
def test_names_that_cannot_be_those_of_the_rows_are_refused(entries):
    with pytest.raises(ValueError, match="entr"):
        LAYOUT.entry_paths(PARTITION, commit_object(resealed(entries=entries)), None)


def test_the_commit_is_a_document_that_people_can_read():
    document = orjson.loads(COMMIT)

    assert document["cb_trade.format"] == 1
    assert document["cb_trade.coverage"] == [segment.to_json() for segment in COVERAGE.segments]
    assert [batch[:3] for batch in document["cb_trade.batches"]] == [
        [2, epoch_ms(minute(0)), epoch_ms(minute(1))],
        [4, epoch_ms(minute(2)), epoch_ms(minute(5))],
    ]
    assert document["cb_trade.entries"] == [
        ["1709164680000", "1709164740000"],
        ["1709164800000", "1709164860000", "1709164920000", "1709164980000"],
    ]


@pytest.mark.parametrize(
    "commit",
    [b"", b"{", b"null", b"1", b"[]", b"{}", b"\xff", COMMIT[:-1], COMMIT + b"x", COMMIT.replace(b"empty", b"held")],
)
def test_what_is_no_commit_is_refused(commit):
    with pytest.raises(ValueError):  # noqa: PT011 - many words, one kind
        decode(commit)


@pytest.mark.parametrize("version", [None, 0, -1, 1.0, "1", True, [1]])
def test_a_format_that_never_was_is_refused(version):
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
        if (
            not stored.rows.combine_chunks().equals(STORED.rows)
            or stored.coverage != COVERAGE
            or stored.digests not in ({}, STORED_DIGESTS)
            or stored.evidence not in (None, STORED_EVIDENCE)
        ):
            wrong.append(place)

    assert wrong == []


@pytest.mark.parametrize("commit", [orjson.loads(COMMIT) | {"cb_trade.checksum": "0"}, {}], ids=["as today", "other"])
def test_a_later_format_is_told_from_damage_whatever_it_holds(commit):
    with pytest.raises(NewerFormatError):
        decode(orjson.dumps(commit | {"cb_trade.format": 2}))
