"""The page of the settings is what the code says of them, and the code says what each is."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from cb_trade_data.config.leaves import Leaf, leaves
from settings_reference import PAGE, page, unit

LEAVES = list(leaves(["binance"]))


def types_of(leaf: Leaf) -> set[object]:
    return {leaf.field.annotation, *get_args(leaf.field.annotation)}


def test_the_page_is_made_from_the_code():
    assert PAGE.read_text() == page(PAGE.read_text()), "run: .venv/bin/python tools/settings_reference.py"


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.variable)
def test_a_setting_says_what_it_is_for_in_a_sentence(leaf: Leaf):
    text = leaf.field.description or ""

    assert re.match(r"[A-Z`]", text)
    assert text.endswith(".")
    assert len(text) > 15
    assert "|" not in text  # which would end a cell of the table


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.variable)
def test_a_number_has_a_unit_and_nothing_else_has(leaf: Leaf):
    assert bool(unit(leaf)) == bool(types_of(leaf) & {int, float})


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.variable)
def test_a_unit_in_a_name_is_the_unit_that_is_told(leaf: Leaf):
    name = leaf.path[-1]
    units = {"_secs": "seconds", "_ms": "milliseconds", "_bytes": "bytes"}

    assert all(unit(leaf) == told for end, told in units.items() if name.endswith(end))


def test_what_stands_around_the_tables_stays():
    before, after = "# Settings\n\nWords.\n\n", "\n## Client\n\nMore words.\n"
    made = PAGE.read_text()
    tables = made[made.index("<!-- From") : made.index("<!-- Up to here. -->\n") + len("<!-- Up to here. -->\n")]

    assert page(before + tables.replace("`8700`", "`1`") + after) == before + tables + after
