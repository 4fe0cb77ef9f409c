"""A trap: something that exchanges, or CCXT, do to the unwary."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cb_trade_conformance.subject import Subject


class Caught(Exception):
    """The plugin walked into the trap; the text says how that shows."""


class DoesNotApply(Exception):
    """The plugin, or its exchange, has nothing that the trap is about; the text says what that would be."""


@dataclass(frozen=True)
class Trap:
    """Something that is tried.

    Attributes:
        name: By which it is asked for.
        tried: What is tried, and what has to come of it, in one sentence.
        run: Tries it on a plugin. Raises `Caught` or `DoesNotApply`; any other error counts as caught, too.
        waits: Whether real seconds pass in which nothing happens: such traps are begun first.
    """

    name: str
    tried: str
    run: Callable[[Subject], Awaitable[None]]
    waits: bool = False
