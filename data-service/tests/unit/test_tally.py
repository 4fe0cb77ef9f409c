"""What is counted of requests, and what the log is told of them."""

from __future__ import annotations

import pytest
from unit_builders import minute, minutes, series

from cb_trade_data.api.story import RequestStory
from cb_trade_data.api.tally import Distribution, Tally
from cb_trade_data.historical.receipt import Receipt
from cb_trade_data.storage.coverage import Segment, State


def story(outcome: str = "ok", receipt: Receipt | None = None, first_chunk: float | None = None) -> RequestStory:
    told = RequestStory("request_historical", started=100.0)
    told.outcome, told.receipt, told.first_chunk_seconds = outcome, receipt, first_chunk
    told.seconds = told.elapsed(100.75)
    if receipt is not None:
        told.format, told.sent_bytes, told.rows = "arrow", 480, 10
    return told


def total(distribution: Distribution) -> int:
    return sum(distribution.counts)


@pytest.mark.parametrize(("value", "counts"), [(0.0, [1, 0, 0]), (1.0, [1, 0, 0]), (1.5, [0, 1, 0]), (2.5, [0, 0, 1])])
def test_a_value_counts_for_the_first_bound_that_it_does_not_exceed(value, counts):
    distribution = Distribution((1.0, 2.0))

    distribution.add(value)

    assert (distribution.counts, distribution.sum) == (counts, value)


def test_requests_are_counted_by_type_and_outcome_and_timed_where_they_were_answered():
    tally = Tally()
    for outcome in ("ok", "ok", "unknown_symbol", "cancelled"):
        tally.add(story(outcome))

    assert tally.requests == {
        ("request_historical", "ok"): 2,
        ("request_historical", "unknown_symbol"): 1,
        ("request_historical", "cancelled"): 1,
    }
    assert total(tally.answered_secs["request_historical", "storage"]) == 2
    assert tally.answered_secs["request_historical", "storage"].sum == pytest.approx(1.5)


def test_an_exchange_that_was_chosen_is_counted_and_told_with_what_it_was_chosen_from():
    tally, chosen, named = Tally(), story(), story()
    chosen.series, chosen.chosen_from, chosen.passed_over = series(), ["kraken", "binance"], {"kraken": "unavailable"}
    named.series = series()
    undecided = story("unknown_symbol")
    undecided.chosen_from = "any"
    for each in (chosen, named, undecided):
        tally.add(each)

    assert tally.chosen_exchanges == {"binance": 1}
    assert chosen.fields()["chosen_from"] == ["kraken", "binance"]
    assert chosen.fields()["passed_over"] == {"kraken": "unavailable"}
    assert "chosen_from" not in named.fields()
    assert undecided.fields()["chosen_from"] == "any"


def test_answers_for_which_pages_were_fetched_are_timed_apart():
    tally = Tally()
    tally.add(story(receipt=Receipt(rows_from_storage=10), first_chunk=0.01))
    tally.add(story(receipt=Receipt(rows_from_storage=1, rows_from_exchange=9, exchange_calls=1), first_chunk=0.5))

    assert {source: each.sum for source, each in tally.first_chunk_secs.items()} == {"storage": 0.01, "exchange": 0.5}
    assert (tally.rows_from_storage, tally.rows_from_exchange) == (11, 9)
    assert tally.sent_bytes == {"arrow": 960}


def test_how_long_a_request_took_that_was_cut_short_says_nothing():
    """Whether pages were fetched for it is known at its end only."""
    tally = Tally()
    tally.add(story("cancelled", Receipt(rows_from_storage=10), first_chunk=30.0))

    assert total(tally.first_chunk_secs["storage"]) == 0
    assert tally.answered_secs == {}
    assert tally.sent_bytes == {"arrow": 480}


def test_gaps_are_counted_by_their_state_and_length():
    gaps = [
        Segment(minutes(0, 10), State.FAILED, minute(0), reason="503"),
        Segment(minutes(10, 11), State.EMPTY, minute(0), asks=1),
        Segment(minutes(20, 25), State.FAILED, minute(0), reason="503"),
    ]
    tally = Tally()

    tally.add(story(receipt=Receipt(gaps=gaps)))

    assert tally.gap_secs == {"failed": 900.0, "empty": 60.0}


def test_the_log_is_told_of_an_answer_where_it_came_from():
    told = story(receipt=Receipt(rows_from_storage=7, rows_from_exchange=3, exchange_calls=2), first_chunk=0.25)
    told.series, told.start, told.end = series(), minute(0), minute(10)

    assert told.fields() == {
        "type": "request_historical",
        "outcome": "ok",
        "series": str(series()),
        "start": minute(0),
        "end": minute(10),
        "rows": 10,
        "rows_from_storage": 7,
        "rows_from_exchange": 3,
        "exchange_calls": 2,
        "gaps": 0,
        "format": "arrow",
        "bytes": 480,
        "first_chunk_seconds": 0.25,
        "seconds": 0.75,
    }


def test_the_log_is_told_of_an_error_as_much_as_was_known():
    told = story("unknown_exchange")
    told.error = "no exchange is called 'x'"

    assert told.fields() == {
        "type": "request_historical",
        "outcome": "unknown_exchange",
        "error": "no exchange is called 'x'",
        "seconds": 0.75,
    }
