from __future__ import annotations

import pytest
from unit_builders import minute, minutes

from cb_trade_data.historical.receipt import SEGMENTS_MAX, Receipt
from cb_trade_data.storage.coverage import Segment, State


def held(first: int, end: int) -> Segment:
    return Segment(minutes(first, end), State.HELD)


def failed(first: int, end: int, reason: str = "timeout") -> Segment:
    return Segment(minutes(first, end), State.FAILED, minute(500), reason=reason)


def separate(count: int, first: int = 0) -> list[Segment]:
    return [failed(first + number, first + number + 1, f"reason {first + number}") for number in range(count)]


def test_a_new_receipt_is_empty():
    receipt = Receipt()

    assert (receipt.rows_from_storage, receipt.rows_from_exchange, receipt.exchange_calls) == (0, 0, 0)
    assert (receipt.coverage, receipt.gaps, receipt.is_truncated) == ([], [], False)


def test_receipts_share_nothing():
    Receipt().enter([held(0, 1), failed(1, 2)])

    assert Receipt() == Receipt()
    assert Receipt().coverage == []


def test_what_goes_on_over_the_edge_of_a_partition_is_one_segment():
    receipt = Receipt()
    receipt.enter([held(0, 5), failed(5, 7)])
    receipt.enter([failed(7, 9), held(9, 10)])

    assert receipt.coverage == [held(0, 5), failed(5, 9), held(9, 10)]
    assert receipt.gaps == [failed(5, 9)]


def test_what_differs_or_lies_apart_stays_apart():
    receipt = Receipt()
    receipt.enter([held(0, 2), held(3, 5), failed(5, 6, "a"), failed(6, 7, "b")])

    assert receipt.coverage == [held(0, 2), held(3, 5), failed(5, 6, "a"), failed(6, 7, "b")]
    assert receipt.gaps == [failed(5, 6, "a"), failed(6, 7, "b")]


def test_gaps_that_something_lies_between_stay_apart():
    receipt = Receipt()
    receipt.enter([failed(0, 1), held(1, 2), failed(2, 3)])

    assert receipt.gaps == [failed(0, 1), failed(2, 3)]


@pytest.mark.parametrize("state", list(State))
def test_gaps_are_what_may_exist_and_was_not_delivered(state):
    segment = Segment(minutes(0, 1), state)
    receipt = Receipt()
    receipt.enter([segment])

    is_gap = state in {State.FAILED, State.EMPTY, State.UNAVAILABLE, State.UNKNOWN}
    assert receipt.gaps == ([segment] if is_gap else [])
    assert receipt.coverage == [segment]


def test_a_receipt_has_a_thousand_segments_at_most():
    """As the wire contract says."""
    assert SEGMENTS_MAX == 1_000


def test_as_many_segments_as_allowed_are_all_there():
    receipt = Receipt()
    receipt.enter(separate(SEGMENTS_MAX))

    assert receipt.coverage == receipt.gaps == separate(SEGMENTS_MAX)
    assert not receipt.is_truncated


def test_one_segment_more_is_left_out_and_said_to_be():
    receipt = Receipt()
    receipt.enter(separate(SEGMENTS_MAX + 1))

    assert receipt.coverage == receipt.gaps == separate(SEGMENTS_MAX)
    assert receipt.is_truncated


def test_a_full_receipt_still_grows_its_last_segment():
    receipt = Receipt()
    receipt.enter([*separate(SEGMENTS_MAX - 1), held(SEGMENTS_MAX, SEGMENTS_MAX + 1)])
    receipt.enter([held(SEGMENTS_MAX + 1, SEGMENTS_MAX + 9)])

    assert receipt.coverage[-1] == held(SEGMENTS_MAX, SEGMENTS_MAX + 9)
    assert not receipt.is_truncated


def test_a_receipt_once_truncated_stays_so_and_keeps_the_oldest():
    receipt = Receipt()
    receipt.enter(separate(SEGMENTS_MAX + 5))
    receipt.enter([held(5000, 5001)])

    assert receipt.is_truncated
    assert receipt.coverage == separate(SEGMENTS_MAX)


def test_gaps_are_listed_to_their_own_limit():
    """Among many stretches that are held, the few gaps are what matters."""
    receipt = Receipt()
    for number in range(SEGMENTS_MAX):
        receipt.enter([held(3 * number, 3 * number + 1), failed(3 * number + 1, 3 * number + 2, f"reason {number}")])

    assert len(receipt.coverage) == SEGMENTS_MAX
    assert len(receipt.gaps) == SEGMENTS_MAX
    assert receipt.is_truncated


def test_failures_of_a_refresh_that_are_cut_are_said_to_be():
    """They are gaps where the coverage, one stretch that is held, is far from its limit."""
    receipt = Receipt()
    receipt.enter([held(0, 3 * SEGMENTS_MAX + 3)], separate(SEGMENTS_MAX + 1))

    assert len(receipt.coverage) == 1
    assert receipt.gaps == separate(SEGMENTS_MAX)
    assert receipt.is_truncated
