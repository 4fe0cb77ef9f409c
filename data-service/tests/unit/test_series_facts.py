from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import instants, quick, span, utc

from cb_trade_data.errors import NewerFormatError
from cb_trade_data.models.instants import EPOCH
from cb_trade_data.models.partition import EVER
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.series_facts import SeriesFacts

MILLISECOND = timedelta(milliseconds=1)
LISTED = utc("2020-08-11T06:00")
CHECKED = utc("2024-02-29T12:00")

UNKNOWN = SeriesFacts("BTCUSDT")
KNOWN = SeriesFacts("BTCUSDT", LISTED, CHECKED)
NONE_AT_ALL = SeriesFacts("BTCUSDT", None, CHECKED)
DELISTED = utc("2023-06-01")
GONE = KNOWN.with_delisting(DELISTED, CHECKED)


def test_all_time_before_the_first_bar_is_unlisted_and_all_time_after_the_last_one_delisted():
    unlisted = Segment(TimeRange(EPOCH, LISTED), State.UNLISTED)
    delisted = Segment(TimeRange(DELISTED, EVER.end), State.DELISTED)

    assert KNOWN.absences == (unlisted,)
    assert GONE.absences == (unlisted, delisted)
    assert GONE.absent == [unlisted.range, delisted.range]
    assert GONE.absence_at(LISTED - MILLISECOND) == unlisted
    assert GONE.absence_at(LISTED) is GONE.absence_at(DELISTED - MILLISECOND) is None
    assert GONE.absence_at(DELISTED) == delisted


def test_nothing_is_known_to_be_unlisted_until_the_first_bar_is_known():
    assert UNKNOWN.absences == NONE_AT_ALL.absences == ()


def test_a_series_that_is_as_old_as_time_was_never_unlisted():
    assert replace(KNOWN, listed_at=EPOCH).absences == ()
    assert replace(KNOWN, listed_at=utc("1969-12-29")).absences == ()  # the week that holds the epoch


@pytest.mark.parametrize(
    ("wanted", "listed"),
    [
        (span("2020-01-01", "2020-08-01"), None),
        (span("2020-08-01", "2020-08-11T06:00"), None),
        (span("2020-08-01", "2020-08-11T06:01"), span("2020-08-11T06:00", "2020-08-11T06:01")),
        (span("2020-08-11T06:00", "2020-09-01"), span("2020-08-11T06:00", "2020-09-01")),
        (span("2021-01-01", "2022-01-01"), span("2021-01-01", "2022-01-01")),
    ],
)
def test_the_listed_part_of_a_range_begins_with_the_first_bar(wanted, listed):
    assert KNOWN.listed_part(wanted) == listed


@pytest.mark.parametrize(
    ("wanted", "listed"),
    [
        (span("2020-01-01", "2024-01-01"), TimeRange(LISTED, DELISTED)),
        (span("2023-01-01", "2023-06-02"), span("2023-01-01", "2023-06-01")),
        (span("2023-06-01", "2023-06-02"), None),
    ],
)
def test_the_listed_part_of_a_range_ends_with_the_last_bar(wanted, listed):
    assert GONE.listed_part(wanted) == listed


@pytest.mark.parametrize("facts", [UNKNOWN, NONE_AT_ALL])
def test_all_of_a_range_may_be_listed_while_the_first_bar_is_unknown(facts):
    assert facts.listed_part(span("1970-01-01", "1970-01-02")) == span("1970-01-01", "1970-01-02")


def test_a_first_bar_that_was_never_looked_up_is_due():
    assert UNKNOWN.listing_is_due(CHECKED)
    assert replace(UNKNOWN, listed_at=LISTED).listing_is_due(CHECKED)


@pytest.mark.parametrize("facts", [KNOWN, NONE_AT_ALL])
def test_a_first_bar_is_looked_up_once_a_day_at_most(facts):
    assert not facts.listing_is_due(CHECKED)
    assert not facts.listing_is_due(CHECKED + timedelta(days=1) - MILLISECOND)
    assert facts.listing_is_due(CHECKED + timedelta(days=1))


LATER = CHECKED + MILLISECOND


@pytest.mark.parametrize(
    ("ours", "stored", "listed_at", "checked_at"),
    [
        (KNOWN, UNKNOWN, LISTED, CHECKED),
        (UNKNOWN, KNOWN, LISTED, CHECKED),
        (KNOWN, replace(NONE_AT_ALL, listing_checked_at=LATER), None, LATER),
        (replace(NONE_AT_ALL, listing_checked_at=LATER), KNOWN, None, LATER),
        (UNKNOWN, UNKNOWN, None, None),
    ],
)
def test_of_two_look_ups_the_later_one_counts(ours, stored, listed_at, checked_at):
    merged = replace(ours, version="old").merged(replace(stored, version="new"))

    assert merged == SeriesFacts("BTCUSDT", listed_at, checked_at, version="new")


@pytest.mark.parametrize(
    ("ours", "stored", "delisted_at", "checked_at"),
    [
        (KNOWN, GONE, DELISTED, CHECKED),
        (GONE, KNOWN, DELISTED, CHECKED),
        (GONE.with_delisting(None, LATER), GONE, None, LATER),
        (GONE, GONE.with_delisting(None, LATER), None, LATER),
        (GONE.with_delisting(None, CHECKED), GONE, DELISTED, CHECKED),
    ],
)
def test_of_two_looks_at_the_end_the_later_one_counts_so_that_a_relisting_takes_a_delisting_back(
    ours, stored, delisted_at, checked_at
):
    merged = replace(ours, version="old").merged(replace(stored, version="new"))

    assert merged == SeriesFacts("BTCUSDT", LISTED, CHECKED, delisted_at, checked_at, version="new")


@pytest.mark.parametrize("looked_up", [CHECKED - MILLISECOND, CHECKED, LATER])
def test_a_look_at_one_end_takes_nothing_from_what_is_known_of_the_other(looked_up):
    looked = UNKNOWN.with_listing(LISTED, looked_up)

    for ours, stored in ((looked, GONE), (GONE, looked)):
        merged = ours.merged(replace(stored, version="new"))
        assert merged == SeriesFacts("BTCUSDT", LISTED, max(looked_up, CHECKED), DELISTED, CHECKED, version="new")


def test_a_last_bar_is_looked_up_once_a_day_at_most():
    assert KNOWN.delisting_is_due(CHECKED)
    assert not GONE.delisting_is_due(CHECKED + timedelta(days=1) - MILLISECOND)
    assert GONE.delisting_is_due(CHECKED + timedelta(days=1))


def test_facts_from_before_the_last_bar_was_looked_up_are_read_as_they_are():
    old = b"""{"cb_trade.format": 1, "market_id": "BTCUSDT", "listed_at": 1597125600000,
    "listing_checked_at": 1709208000000, "delisted_at": null, "cb_trade.checksum": "41edf6a2bc59200b"}"""

    assert SeriesFacts.from_bytes(old, "v1", "path") == replace(KNOWN, version="v1")


def test_facts_that_were_deleted_meanwhile_are_written_anew():
    assert replace(KNOWN, version="old").merged(None) == KNOWN


def test_a_look_up_is_remembered_with_its_date_and_the_rest_stays():
    facts = SeriesFacts("BTCUSDT", version="v1").with_listing(LISTED, CHECKED)

    assert facts == SeriesFacts("BTCUSDT", LISTED, CHECKED, version="v1")
    later = CHECKED + MILLISECOND
    assert facts.with_listing(None, later) == SeriesFacts("BTCUSDT", None, later, version="v1")


to_the_millisecond = instants.map(lambda instant: instant.replace(microsecond=instant.microsecond // 1000 * 1000))


@quick()
@given(st.text(max_size=20), st.tuples(*[st.none() | to_the_millisecond] * 4))
def test_facts_survive_the_way_through_bytes(market_id, times):
    facts = SeriesFacts(market_id, *times)

    assert SeriesFacts.from_bytes(facts.to_bytes(), "v7", "path") == replace(facts, version="v7")


def test_the_object_is_json_that_others_can_read():
    assert orjson.loads(KNOWN.to_bytes()) == {
        "cb_trade.format": 1,
        "market_id": "BTCUSDT",
        "listed_at": 1_597_125_600_000,
        "listing_checked_at": 1_709_208_000_000,
        "delisted_at": None,
        "delisting_checked_at": None,
        "cb_trade.checksum": "9a0a973b061c1602",
    }


GOOD = orjson.loads(KNOWN.to_bytes())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"1",
        b"{}",
        KNOWN.to_bytes()[:-1],
        *(
            orjson.dumps(facts)
            for facts in (
                GOOD | {"cb_trade.format": 0},
                GOOD | {"cb_trade.format": True},
                GOOD | {"cb_trade.format": "1"},
                GOOD | {"cb_trade.format": None},
                {name: value for name, value in GOOD.items() if name != "market_id"},
                GOOD | {"listed_at": "2020-08-11"},
                GOOD | {"listed_at": []},
                GOOD | {"listed_at": 2**63},
                GOOD | {"listing_checked_at": {}},
                GOOD | {"listing_checked_at": 1e300},
            )
        ),
    ],
)
def test_what_is_no_facts_object_is_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011 - many words, one kind
        SeriesFacts.from_bytes(data, "v1", "path")


def test_no_bit_that_flips_goes_unnoticed_unless_it_changes_nothing():
    """Spaces between the words may become other spaces."""
    for number in range(len(KNOWN.to_bytes()) * 8):
        data = bytearray(KNOWN.to_bytes())
        data[number // 8] ^= 1 << number % 8
        with suppress(ValueError):
            assert SeriesFacts.from_bytes(bytes(data), "v1", "path") == replace(KNOWN, version="v1")


@pytest.mark.parametrize("facts", [GOOD | {"cb_trade.format": 2, "more": 1}, {"cb_trade.format": 7}])
def test_facts_of_a_later_format_are_told_from_damage_whatever_they_hold(facts):
    with pytest.raises(NewerFormatError):
        SeriesFacts.from_bytes(orjson.dumps(facts), "v1", "path")


def test_a_listing_that_was_checked_by_a_clock_far_ahead_is_checked_again():
    checked_at = utc("2034-01-01")
    facts = SeriesFacts("BTCUSDT").with_listing(utc("2017-08-17"), checked_at)

    assert facts.listing_is_due(utc("2024-01-01"))
    assert not facts.listing_is_due(checked_at - timedelta(hours=1))
