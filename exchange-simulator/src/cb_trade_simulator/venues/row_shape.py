"""Where rows and their fields are in a venue's parsed JSON, so that faults can spoil them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class RowShape:
    """The shape of an answer with candles, funding rates or trades.

    Attributes:
        find: Returns the list of rows inside the parsed answer, the very list; None if the answer holds no rows.
        time: Index or key of a row's time: of a candle, when it opens.
        prices: Indices or keys of what a row is about: of a candle, its open, high, low and close.
        unit_ms: How many milliseconds one unit of the time is.
        newest_first: Whether rows descend.
        iso_time: Whether the time is text, as in ISO 8601, rather than a number.
    """

    find: Callable[[Any], list[Any] | None]
    time: int | str
    prices: tuple[int | str, ...]
    unit_ms: int = 1
    newest_first: bool = False
    iso_time: bool = False


def list_at(*path: str) -> Callable[[Any], list[Any] | None]:
    """Return a function that follows *path* into a parsed answer and returns the list there, None if there is none.

    >>> list_at("result", "list")({"result": {"list": [1]}})
    [1]
    """

    def find(document: Any) -> list[Any] | None:
        for name in path:
            document = document.get(name) if isinstance(document, dict) else None
        return document if isinstance(document, list) else None

    return find


NO_ROWS = RowShape(lambda _document: None, time=0, prices=())
"""The shape of an answer without rows."""
