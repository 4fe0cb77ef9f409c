"""The digest says what was delivered, and nothing of how."""

from __future__ import annotations

import hashlib
import struct
from datetime import timedelta
from itertools import pairwise

import pyarrow as pa
import pytest
from event_samples import DAY, ORDER_BOOK, STORED_BOOKS, span_ms
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import bars, epoch_ms, quick, series, table, utc

from cb_trade_data.models.digest import AnswerDigest, unit_digests
from cb_trade_data.models.time_range import TimeRange

DAYS = TimeRange(utc("2024-02-28"), utc("2024-03-03"))
QUARTER_HOURS = [DAYS.start + number * timedelta(minutes=15) for number in range(4 * 96)]


def digest_of(pieces, timeframe="15m", known=None):
    """Return the digest of pieces: a range, and the rows in it."""
    digest = AnswerDigest(series(timeframe=timeframe))
    for stretch, rows in pieces:
        digest.add(stretch, rows, known or {})
    return digest.text()


def by_hand(units):
    """Return the digest of rows unit by unit, computed as the contract words it."""
    whole = hashlib.sha256()
    for rows in units:
        columns = [struct.pack(f"<{len(rows)}q", *(row[0] for row in rows))]
        columns += [struct.pack(f"<{len(rows)}d", *(row[number] for row in rows)) for number in range(1, 6)]
        whole.update(hashlib.sha256(b"".join(columns)).digest())
    return f"v1:{whole.hexdigest()}"


def rows_at(*opens):
    return [(epoch_ms(utc(text)), 1.5, 2.5, 0.5, 1.0, 7.0 + number) for number, text in enumerate(opens)]


@pytest.mark.parametrize(
    ("timeframe", "units"),
    [
        ("1m", [rows_at("2024-01-01", "2024-01-01T23:59"), rows_at("2024-01-03")]),
        ("30m", [rows_at("2023-12-31T23:30"), rows_at("2024-01-01")]),
        ("1h", [rows_at("2023-01-01", "2023-12-31T23:00"), rows_at("2024-01-01", "2024-05-01")]),
        ("1d", [rows_at("1999-12-31"), rows_at("2000-01-01"), rows_at("2024-02-29", "2024-12-31")]),
        ("1w", [rows_at("2024-01-01", "2024-12-30"), rows_at("2025-01-06")]),
        ("1M", [rows_at("2024-01-01", "2024-12-01"), rows_at("2025-01-01")]),
    ],
)
def test_a_unit_is_a_day_below_an_hour_and_a_year_from_there_on(timeframe, units):
    rows = table([row for unit in units for row in unit])

    assert digest_of([(TimeRange(utc("1990-01-01"), utc("2030-01-01")), rows)], timeframe) == by_hand(units)


def test_no_rows_are_the_digest_of_nothing():
    assert digest_of([]) == digest_of([(DAYS, table([]))]) == f"v1:{hashlib.sha256().hexdigest()}"


@quick(60)
@given(st.sets(st.sampled_from(QUARTER_HOURS)), st.sets(st.sampled_from(QUARTER_HOURS)))
def test_it_does_not_depend_on_where_the_rows_are_cut(opens, cuts):
    edges = [DAYS.start, *sorted(cuts - {DAYS.start}), DAYS.end]
    pieces = [
        (TimeRange(start, end), bars(each for each in sorted(opens) if start <= each < end))
        for start, end in pairwise(edges)
    ]

    assert digest_of(pieces) == digest_of([(DAYS, bars(sorted(opens)))])


@quick(60)
@given(st.sets(st.sampled_from(QUARTER_HOURS)), st.lists(st.sampled_from(QUARTER_HOURS), min_size=2, max_size=2))
def test_known_units_are_used_where_all_of_them_is_delivered_and_nowhere_else(opens, edges):
    stored = bars(sorted(opens))
    wanted = TimeRange(min(edges), max(edges) + timedelta(minutes=15))
    rows = bars(each for each in sorted(opens) if each in wanted)
    known = unit_digests(stored, series(timeframe="15m"))

    assert digest_of([(wanted, rows)], known=known) == digest_of([(wanted, rows)])


def test_a_known_digest_spares_hashing_the_rows():
    rows = bars(QUARTER_HOURS)
    known = dict.fromkeys(unit_digests(rows, series(timeframe="15m")), b"not hashed")

    assert digest_of([(DAYS, rows)], known=known) == f"v1:{hashlib.sha256(b'not hashed' * 4).hexdigest()}"


@pytest.mark.parametrize(
    ("some", "same"), [(0.0, -0.0), (float("nan"), struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0001))[0])]
)
def test_numbers_that_are_equal_for_everybody_have_one_form(some, same):
    time = epoch_ms(DAYS.start)

    assert digest_of([(DAYS, table([(time, 1, 1, 1, 1, some)]))]) == digest_of(
        [(DAYS, table([(time, 1, 1, 1, 1, same)]))]
    )


@pytest.mark.parametrize("column", range(6))
def test_every_value_counts(column):
    row = [epoch_ms(DAYS.start), 1.0, 2.0, 0.5, 1.5, 7.0]
    other = [*row[:column], row[column] + 1, *row[column + 1 :]]

    assert digest_of([(DAYS, table([row]))]) != digest_of([(DAYS, table([other]))])


def test_rows_in_many_pieces_of_memory_are_the_same_rows():
    rows = bars(QUARTER_HOURS)
    pieces = pa.concat_tables([rows.slice(first, 7) for first in range(0, rows.num_rows, 7)])

    assert digest_of([(DAYS, pieces)]) == digest_of([(DAYS, rows)])


def test_the_digest_of_order_books_is_that_of_the_contract():
    rows = pa.concat_tables([STORED_BOOKS.rows.slice(0, 1), STORED_BOOKS.rows.slice(1)])
    digest = AnswerDigest(ORDER_BOOK)
    digest.add(span_ms(0, 86_400_000), rows)

    times, bids, asks, nonces = (column.to_pylist() for column in rows.columns)
    packed = b"".join(struct.pack("<q", epoch_ms(time)) for time in times)
    for levels in (bids, asks):
        packed += b"".join(struct.pack("<q", len(each)) for each in levels)
        packed += b"".join(struct.pack("<dd", *level) for each in levels for level in each)
    packed += b"".join(struct.pack("<d", nonce) for nonce in nonces)
    unit = hashlib.sha256(packed).digest()
    assert digest.text() == f"v1:{hashlib.sha256(unit).hexdigest()}"
    assert unit_digests(rows, ORDER_BOOK) == {epoch_ms(DAY): unit}
