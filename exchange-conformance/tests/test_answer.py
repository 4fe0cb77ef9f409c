"""An answer held against the truth: what is caught, and what may be missing."""

from __future__ import annotations

import pytest

from cb_trade_conformance.answer import Answer, Row
from cb_trade_conformance.trap import Caught
from cb_trade_data.historical.receipt import Receipt
from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State

MINUTE_MS = 60_000
TRUTH: list[Row] = [(number * MINUTE_MS, 1.0 + number) for number in range(4)]


def answer(rows: list[Row], *gaps: tuple[int, int, State]) -> Answer:
    """Return one with gaps from minute to minute."""
    segments = [
        Segment(TimeRange(from_ms(first * MINUTE_MS), from_ms(end * MINUTE_MS)), state, reason="maintenance")
        for first, end, state in gaps
    ]
    return Answer(rows, TRUTH, Receipt(gaps=segments))


def test_the_truth_is_not_caught():
    answer(TRUTH).must_be_the_truth()


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([*TRUTH, (4 * MINUTE_MS, 5.0)], r"1 row\(s\) that the exchange does not have, .* 1970-01-01T00:04:00"),
        ([(0, 1.5), *TRUTH[1:]], r"1 row\(s\) with other values .* 1970-01-01T00:00:00"),
        (TRUTH[:2], r"2 row\(s\) not delivered and not told to be missing, the first of 1970-01-01T00:02:00"),
        ([*TRUTH[:2], *TRUTH[1:]], "rows came twice"),
        (TRUTH[::-1], "in another order"),
    ],
)
def test_what_is_not_the_truth_is_caught(rows, told):
    with pytest.raises(Caught, match=told):
        answer(rows).must_be_the_truth()


def test_a_row_may_be_missing_where_that_is_told_in_an_allowed_way():
    found = answer(TRUTH[:2], (2, 4, State.EMPTY))

    found.must_hide_nothing(State.EMPTY)
    with pytest.raises(Caught, match="is told to be empty: maintenance"):
        found.must_hide_nothing(State.FAILED)
    with pytest.raises(Caught):
        found.must_be_the_truth()


def test_a_gap_elsewhere_excuses_nothing():
    with pytest.raises(Caught, match="1970-01-01T00:02:00"):
        answer(TRUTH[:2], (3, 4, State.EMPTY)).must_hide_nothing(State.EMPTY)


def test_two_trades_of_one_time_are_two_rows():
    trades: list[Row] = [(0, "1", "buy", 1.0, 1.0), (0, "2", "buy", 1.0, 1.0)]

    Answer(trades, trades, Receipt(), key_columns=2).must_be_the_truth()
    with pytest.raises(Caught, match="not delivered"):
        Answer(trades[:1], trades, Receipt(), key_columns=2).must_be_the_truth()
