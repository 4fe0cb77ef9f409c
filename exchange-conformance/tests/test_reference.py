"""The page of the exchanges is made from facts, traps and cards; `test_cards.py` draws up the cards."""

from __future__ import annotations

import re

import pytest

from cb_trade_conformance.card import Outcome
from cb_trade_conformance.trap import Trap
from cb_trade_conformance.traps import TRAPS
from exchanges_reference import PAGE, cards_on, page


def test_the_page_is_made_from_the_code():
    text = PAGE.read_text()

    assert text == page(text, cards_on(text)), "run: .venv/bin/python tools/exchanges_reference.py"


def test_the_outcomes_on_a_page_are_those_that_it_was_made_with():
    text = PAGE.read_text()
    cards = cards_on(text)
    cards["okx"] = cards["okx"] | {"listing": Outcome.FAILED, "pace": Outcome.NOT_APPLICABLE}

    assert cards_on(page(text, cards)) == cards


def test_names_of_traps_are_unique():
    assert len({trap.name for trap in TRAPS}) == len(TRAPS)


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_a_trap_says_in_a_sentence_what_is_tried(trap: Trap):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", trap.name)
    assert re.fullmatch(r"[A-Z][^|]+\.", trap.tried)
