"""The command `cb-trade conformance`."""

from __future__ import annotations

# Only what is cheap: every `cb-trade --help` imports this module.
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cb_trade_conformance.card import Card
    from cb_trade_conformance.subject import Subject
    from cb_trade_conformance.trap import Trap


def conformance(
    exchange: Annotated[str, typer.Argument(help="The name by which the service knows the exchange.")],
    trap: Annotated[list[str] | None, typer.Option(help="Only this trap; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Which synthetic past the simulated exchange has.", min=0)] = 1,
    package: Annotated[str | None, typer.Option(help="Whose plugin, where several packages offer one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")] = False,
) -> None:
    """Try every known trap of exchanges on a plugin, in front of a simulated exchange, and print its card.

    Exits with 0 if it fell into none, with 1 if it fell into any. The plugin is given the address of the simulated
    exchange and no other; no settings are read.

    Example: cb-trade conformance binance
    """
    import asyncio

    from cb_trade_conformance.card import Outcome, draw_up_card
    from cb_trade_data.commands.terminal import print_json, progress_bar

    subject, traps = _subject(exchange, seed, package), _traps(trap or [])
    try:
        with _without_logs(), progress_bar(f"traps for {exchange}", len(traps)) as advance:
            card = asyncio.run(draw_up_card(subject, traps, advance))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if as_json:
        print_json(_document(card))
    else:
        _print_card(card)
    if card.count(Outcome.FAILED):
        raise typer.Exit(1)


def _subject(exchange: str, seed: int, package: str | None) -> Subject:
    from cb_trade_conformance.subject import UnfitSubjectError, find_subject

    try:
        return find_subject(exchange, seed=seed, package=package)
    except UnfitSubjectError as error:
        _refuse(str(error))


def _traps(names: list[str]) -> list[Trap]:
    from cb_trade_conformance.traps import TRAPS

    known = [trap.name for trap in TRAPS]
    if unknown := [name for name in names if name not in known]:
        _refuse(f"no trap is called {unknown[0]!r}; there is: {', '.join(known)}")
    return [trap for trap in TRAPS if not names or trap.name in names]


def _refuse(problem: str) -> NoReturn:
    typer.echo(f"cb-trade conformance: {problem}", err=True)
    raise typer.Exit(2)


@contextmanager
def _without_logs() -> Iterator[None]:
    """Keep the service's log quiet: it would tell of every trap what went wrong on purpose."""
    import logging

    import structlog

    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def _print_card(card: Card) -> None:
    from cb_trade_conformance.card import Outcome
    from cb_trade_data.commands.terminal import print_table

    print_table(
        ("trap", "result", "why"),
        [(verdict.trap.name, str(verdict.outcome), verdict.reason) for verdict in card.verdicts],
    )
    counts = ", ".join(f"{card.count(outcome)} {outcome}" for outcome in Outcome)
    typer.echo(f"{card.subject.facts.id}: {counts}")


def _document(card: Card) -> dict[str, Any]:
    from cb_trade_conformance.card import Outcome

    return {
        "exchange": card.subject.facts.id,
        "seed": card.subject.seed,
        "counts": {str(outcome): card.count(outcome) for outcome in Outcome},
        "traps": [
            {
                "name": verdict.trap.name,
                "tried": verdict.trap.tried,
                "outcome": str(verdict.outcome),
                "reason": verdict.reason or None,
            }
            for verdict in card.verdicts
        ],
    }
