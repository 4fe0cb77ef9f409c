"""Writes docs/reference/exchanges.md from the facts, and from cards that it draws up: `.venv/bin/python FILE`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from cb_trade_conformance.card import Card, Outcome, draw_up_card
from cb_trade_conformance.subject import find_subject
from cb_trade_conformance.traps import TRAPS
from cb_trade_data.exchange_source.facts import Bounds, EventPaging, ExchangeFacts, Pace
from cb_trade_data.exchange_source.plugins.exchanges import EXCHANGES
from cb_trade_data.models.series import Kind

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "exchanges.md"
BEGIN: Final = (
    "<!-- From here on made by tools/exchanges_reference.py: change the facts or the traps in the code. -->\n"
)
END: Final = "<!-- Up to here. -->\n"
SIGNS: Final = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.NOT_APPLICABLE: "–"}

#: What came of each trap, by its name.
Outcomes = Mapping[str, Outcome]


def page(text: str, cards: Mapping[str, Outcomes]) -> str:
    """Return the page with its tables made anew; what stands around them stays.

    Args:
        text: The page as it is.
        cards: The outcomes of each built-in exchange.
    """
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "".join([*_facts(), *_events(), *_cards(cards)]) + "\n" + END + after


def cards_on(text: str) -> dict[str, dict[str, Outcome]]:
    """Return the outcomes that the page tells, by exchange."""
    outcome_of = {sign: outcome for outcome, sign in SIGNS.items()}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.partition("\n## Cards\n")[2].splitlines()]
    found = [row for row in rows if row and row[-1] in outcome_of]
    return {
        facts.id: {row[0].strip("`"): outcome_of[row[2 + number]] for row in found}
        for number, facts in enumerate(EXCHANGES)
    }


def outcomes(card: Card) -> dict[str, Outcome]:
    """Return what came of each trap."""
    return {verdict.trap.name: verdict.outcome for verdict in card.verdicts}


def _facts() -> Iterator[str]:
    yield "\n## Facts\n\n"
    yield from _table(
        ["exchange", "timeframes", "bars a page", "a window is asked by", "serves", "first bar", "pages", "under way"],
        [
            [
                f"`{facts.id}`",
                " ".join(facts.timeframes),
                str(facts.page_limit_bars),
                _bounds(facts.bounds),
                "everything" if facts.history_bars is None else f"its newest {facts.history_bars} bars",
                "one call" if facts.jumps_to_first else "searched",
                _pace(facts.pace),
                str(facts.concurrent_calls),
            ]
            for facts in EXCHANGES
        ],
    )


def _events() -> Iterator[str]:
    yield "\n## Kinds without bars\n\n"
    yield from _table(
        ["exchange", "of", "kind", "rows a page", "a window is asked by", "a page holds", "serves", "longest window"],
        [
            [
                f"`{facts.id}`",
                markets,
                f"`{kind}`",
                str(paging.page_limit_rows),
                _bounds(paging.bounds),
                "the newest" if paging.newest_first else "the oldest",
                "everything" if paging.history is None else f"the last {_span(paging.history)}",
                "any" if paging.window_max is None else _span(paging.window_max),
            ]
            for facts, markets, kind, paging in _event_pagings()
        ],
    )


def _event_pagings() -> Iterator[tuple[ExchangeFacts, str, Kind, EventPaging]]:
    for facts in EXCHANGES:
        for markets, kinds in (("spot markets", facts.spot_events), ("perpetuals", facts.perpetual_events)):
            for kind, paging in kinds.items():
                yield facts, markets, kind, paging


def _cards(cards: Mapping[str, Outcomes]) -> Iterator[str]:
    yield "\n## Cards\n\n"
    yield ", ".join(f"{sign} {outcome}" for outcome, sign in SIGNS.items()) + ".\n\n"
    yield from _table(
        ["trap", "what is tried", *(facts.id for facts in EXCHANGES)],
        [[f"`{trap.name}`", trap.tried, *(SIGNS[cards[facts.id][trap.name]] for facts in EXCHANGES)] for trap in TRAPS],
    )


def _table(headings: list[str], rows: list[list[str]]) -> Iterator[str]:
    for cells in (headings, ["---"] * len(headings), *rows):
        yield f"| {' | '.join(cells)} |\n"


def _bounds(bounds: Bounds | None) -> str:
    if bounds is None:
        return "start and number"
    return ", ".join(f"`{name}`" for name in (bounds.start, bounds.end, bounds.count) if name is not None)


def _pace(pace: Pace) -> str:
    return f"{pace.calls} in {_span(pace.per)}, {pace.burst} at once"


def _span(span: timedelta) -> str:
    for unit, length in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if span % length == timedelta(0):
            return f"{span // length} {unit}"
    return f"{span.total_seconds():g} s"


async def _draw_up() -> dict[str, dict[str, Outcome]]:
    return {facts.id: outcomes(await draw_up_card(find_subject(facts.id), TRAPS)) for facts in EXCHANGES}


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    PAGE.write_text(page(PAGE.read_text(), asyncio.run(_draw_up())))
