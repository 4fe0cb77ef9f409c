"""The fast way of writing rows says what the slow way says."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cb_trade_simulator.json_rows import Decimals, json_rows

numbers = st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=20)


@given(numbers, st.integers(0, 8))
def test_decimals_are_written_exactly_and_padded(values, decimals):
    written = json_rows(['"', Decimals(np.array(values, np.int64), decimals, places=8), '"'])

    assert json.loads(written) == [f"{Decimal(value).scaleb(-decimals):.8f}" for value in values]


@given(numbers)
def test_whole_numbers_are_written_bare(values):
    assert json.loads(json_rows([Decimals(np.array(values, np.int64))])) == values


def test_literals_words_and_columns_stand_side_by_side():
    column = Decimals(np.array([150, 7]), decimals=2, places=3)

    assert json_rows(['["', column, '",', np.array([b"true", b"false"]), "]"]) == b'[["1.500",true],["0.070",false]]'


def test_no_rows_are_an_empty_list():
    assert json_rows(["[", Decimals(np.array([], np.int64)), "]"]) == b"[]"
