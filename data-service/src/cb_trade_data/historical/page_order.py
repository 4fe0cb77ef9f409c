"""The order of pages: what is wanted of a partition, and which page of it is next. Pure: it asks nobody."""

from __future__ import annotations

import sys
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from cb_trade_data.historical.paging import Paging
from cb_trade_data.models.time_range import TimeRange, intersect_all, join, subtract
from cb_trade_data.storage.coverage import Segment


@dataclass(eq=False)
class Want:
    """What one waiter still waits for. `open` and `bars_before` are changed by its `PageOrder` only.

    Attributes:
        range: What it asked for, inside the flight's partition, edges on the grid.
        refresh: Whether it wants everything asked again, whatever is stored.
        since: When it came; failures before that are tried again for it.
        bars_before: How many bars its request may want first, of another partition; 0 once it is the turn of these.
        bars_after: How many more bars its request may want once it has these.
        open: The parts of `range` that are not settled yet, oldest first; None until the flight has read storage.
        is_stored: Whether everything that settled it is stored, or was found impossible to store.
        rows_fetched: How many of its rows came from the exchange since it came.
        calls: How many calls the pages took that were fetched for it, those that failed included.
        failures: What of a refresh failed.
    """

    range: TimeRange
    refresh: bool
    since: datetime
    bars_before: int = 0
    bars_after: int = 0
    open: list[TimeRange] | None = None
    is_stored: bool = False
    rows_fetched: int = 0
    calls: int = 0
    failures: list[Segment] = field(default_factory=list)

    @property
    def lacks_only_storing(self) -> bool:
        """Whether all of it is settled, and not stored yet."""
        return self.open == [] and not self.is_stored

    def remainder(self, paging: Paging) -> int:
        """Return how many rows its request may still want: of two, the one that is sooner done goes first.

        Before it is the turn of these, none of them counts as had: they never pass those that come before them.
        """
        own = [self.range] if self.bars_before else self.open or ()
        return self.bars_before + sum(map(paging.rows_in, own)) + self.bars_after

    def open_in(self, window: TimeRange) -> list[TimeRange]:
        """Return what is open inside *window*, oldest first."""
        return list(intersect_all(self.open or (), [window]))


class PageOrder:
    """Says whose page is next: the first one of the request that lacks least and has one that is not under way.

    Which page that is, is found out once after each change.

    Attributes:
        wants: Of those who wait, in the order in which they came.
        unanswered: The pages under way whose answer is not there yet.
    """

    def __init__(self, paging: Paging, may_be_wasted: Callable[[TimeRange], bool] = lambda _: False) -> None:
        """
        Args:
            paging: How what is wanted is asked for.
            may_be_wasted: Tells of a page whether one that is under way may show that it was not worth asking for; it
                is not next then.
        """
        self._paging = paging
        self._may_be_wasted = may_be_wasted
        self._under_way: list[TimeRange] = []  # sorted
        self.wants: Sequence[Want] = ()
        self.unanswered: Sequence[TimeRange] = ()

    # --- What is wanted ----------------------------------------------------------------------------------------------

    def join(self, want: Want) -> None:
        """Add a want."""
        self.wants = (*self.wants, want)
        self._change()

    def leave(self, want: Want) -> None:
        """Forget a want."""
        self.wants = [each for each in self.wants if each is not want]
        self._change()

    def call_up(self, want: Want) -> None:
        """Take in that it is the turn of *want*: its request has what comes before."""
        want.bars_before = 0
        self._change()

    def open(self, want: Want, parts: list[TimeRange]) -> None:
        """Make *parts*, oldest first, what is open of *want*."""
        want.open = parts
        self._change()

    def settle(self, parts: list[TimeRange]) -> None:
        """Take *parts* off what is open, whoever wants it."""
        for want in self.wants:
            if want.open:
                want.open = list(subtract(want.open, parts))
        self._change()

    def wanted_in(self, window: TimeRange) -> list[TimeRange]:
        """Return what is open inside *window* for anybody, oldest first."""
        return list(join(part for want in self.wants for part in want.open_in(window)))

    def is_wanted(self, window: TimeRange) -> bool:
        """Tell whether anything is open inside *window* for anybody."""
        return any(want.open_in(window) for want in self.wants)

    # --- Which page is next ------------------------------------------------------------------------------------------

    @property
    def next_window(self) -> TimeRange | None:
        """The page to be asked for next; None where there is nothing to ask for now."""
        return None if self._next is None else self._next[0]

    def urgency(self, window: TimeRange | None) -> int:
        """Return how many bars the request still wants, of several the one that lacks least, that a page is for.

        Args:
            window: The page; None for the one that is next.

        Returns:
            More than anybody can want where nobody wants it any more: then it comes last.
        """
        if window is None:
            return sys.maxsize if self._next is None else self._next[1]
        return min((want.remainder(self._paging) for want in self.wants if want.open_in(window)), default=sys.maxsize)

    def begin(self) -> TimeRange | None:
        """Return the page that is next, and take it for under way from now on."""
        window = self.next_window
        if window is not None:
            insort(self._under_way, window)
            self.unanswered = (*self.unanswered, window)
            self._change()
        return window

    def arrive(self, window: TimeRange) -> None:
        """Take in that the answer is there. Until all is known that it tells, nobody asks for the same again."""
        self.unanswered = [each for each in self.unanswered if each != window]

    def end(self, window: TimeRange) -> None:
        """Take in that a page is not under way any more: what it left open can be asked for again."""
        self.arrive(window)
        self._under_way.remove(window)
        self._change()

    @cached_property
    def _next(self) -> tuple[TimeRange, int] | None:
        """The page that is next, and what its request lacks."""
        lacking = [(want.remainder(self._paging), want.open) for want in self.wants if want.open]
        for bars, parts in sorted(lacking, key=lambda each: each[0]):
            window = next(self._paging.windows(subtract(parts, self._under_way)), None)
            if window is not None and not (self._under_way and self._may_be_wasted(window)):
                return window, bars
        return None

    def _change(self) -> None:
        self.__dict__.pop("_next", None)  # to be found out anew
