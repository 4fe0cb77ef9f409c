from datetime import UTC, datetime, timedelta

import pytest

from cb_trade_client import CoverageSegment
from cb_trade_client.calendar_strip import calendar_strip

MONTHS = "         J F M A M J J A S O N D"
DAYS = "         1   5    10   15   20   25   30"


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def segments(first, *parts):
    """Return segments that follow each other from *first*, each a state and where it ends."""
    start, made = at(first), []
    for state, end in parts:
        made.append(CoverageSegment(start, at(end), state, None))
        start = at(end)
    return made


def test_a_long_range_has_a_line_for_each_year_and_a_cell_for_each_month():
    told = segments("2022-03-01", ("held", "2023-02-01"), ("unknown", "2023-06-01"))

    assert calendar_strip(told) == [
        MONTHS,
        "2022         █ █ █ █ █ █ █ █ █ █",
        "2023     █ · · · ·              ",
    ]


def test_a_short_range_has_a_line_for_each_month_and_a_cell_for_each_day():
    told = segments("2024-01-30", ("held", "2024-02-02"), ("failed", "2024-02-04"))

    assert calendar_strip(told) == [
        DAYS,
        "2024-01  " + " " * 29 + "██",
        "2024-02  █··" + " " * 26,
    ]


@pytest.mark.parametrize(
    ("held", "cell"),
    [
        (timedelta(), "·"),
        (timedelta(milliseconds=1), "░"),
        (timedelta(hours=7), "░"),
        (timedelta(hours=8), "▒"),
        (timedelta(hours=16), "▓"),
        (timedelta(days=1, milliseconds=-1), "▓"),
        (timedelta(days=1), "█"),
    ],
)
def test_a_cell_is_full_only_if_all_is_held_and_a_dot_only_if_nothing_is(held, cell):
    day = at("2024-01-01")
    parts = [(day, day + held, "held"), (day + held, day + timedelta(days=1), "unknown")]
    told = [CoverageSegment(start, end, state, None) for start, end, state in parts if start < end]

    assert calendar_strip(told)[1][9] == cell


def test_a_cell_counts_what_the_range_has_of_it():
    assert calendar_strip(segments("2024-01-01T18:00", ("held", "2024-01-02T06:00")))[1][9:11] == "██"


def test_what_was_not_listed_yet_is_blank_and_needs_no_lines():
    told = segments("2010-01-01", ("unlisted", "2022-07-01"), ("held", "2023-01-01"))

    assert calendar_strip(told) == [MONTHS, "2022                 █ █ █ █ █ █"]


@pytest.mark.parametrize("told", [[], segments("2010-01-01", ("unlisted", "2022-07-01"))])
def test_where_nothing_is_told_there_is_no_strip(told):
    assert calendar_strip(told) == []
