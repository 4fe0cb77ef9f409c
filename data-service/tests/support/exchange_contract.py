"""What every IExchangeAPIClient promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from cb_trade_data.errors import UnknownSymbolError
from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient
from cb_trade_data.models.instants import to_ms, utc_now
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

MINUTE = Timeframe.parse("1m")


@dataclass
class Subject:
    """A client, and what is true of the exchange behind it.

    Attributes:
        client: Has its markets loaded, or loads them when they are due.
        symbol: Has 1m bars from `listed_at` on.
        opens_in: The true open times of closed bars, in epoch milliseconds, read around the client.
        now: The exchange's present.
    """

    client: IExchangeAPIClient
    symbol: str
    market_id: str
    listed_at: datetime
    opens_in: Callable[[TimeRange], list[int]]
    now: Callable[[], datetime] = utc_now

    @property
    def series(self) -> Series:
        return Series(self.client.facts.id, self.symbol, Kind.OHLCV, MINUTE)

    def window(self, first: int, bars: int) -> TimeRange:
        """Return the window of *bars* bars that starts *first* bars after listing."""
        start = MINUTE.advance(self.listed_at, first)
        return TimeRange(start, MINUTE.advance(start, bars))


class ExchangeClientContract:
    """A client's test class inherits this and supplies `subject`."""

    @pytest.fixture
    def subject(self) -> Subject:
        raise NotImplementedError

    async def test_a_page_holds_every_bar_of_its_window(self, subject):
        window = subject.window(10, 50)

        inside = await opens_inside(subject, window)

        assert inside == subject.opens_in(window)
        assert len(inside) > 25

    async def test_a_full_page_is_as_long_as_the_facts_say(self, subject):
        facts = subject.client.facts
        # The open bar is one of those that an exchange with a short memory serves.
        bars = facts.page_limit_bars if facts.history_bars is None else facts.history_bars - 1
        window = subject.window(0, bars)

        inside = await opens_inside(subject, window)

        assert inside == subject.opens_in(window)
        assert inside[0] == to_ms(window.start)
        assert to_ms(window.end) - inside[-1] < 5 * MINUTE.duration_ms

    async def test_the_ends_of_a_window_are_inclusive_and_exclusive(self, subject):
        """Nor is a bar lost to a neighbour that came in its place."""
        for first in range(3):
            window = subject.window(first, 1)

            assert await opens_inside(subject, window) == subject.opens_in(window)
        assert await opens_inside(subject, subject.window(0, 1)) == [to_ms(subject.listed_at)]

    async def test_before_listing_no_bar_of_the_window_comes(self, subject):
        assert await opens_inside(subject, subject.window(-500, 100)) == []

    async def test_a_window_may_begin_before_the_listing(self, subject):
        """Whichever end the exchange counts from, and whether it jumps."""
        window = subject.window(-20, 40)

        assert await opens_inside(subject, window) == subject.opens_in(window)

    async def test_the_first_open_is_the_listing(self, subject):
        if not subject.client.facts.jumps_to_first:
            pytest.skip("its listing is searched for")
        assert await subject.client.fetch_first_open(subject.series) == subject.listed_at

    async def test_a_known_symbol_has_the_exchanges_name(self, subject):
        assert (await subject.client.market(subject.symbol)).id == subject.market_id

    async def test_an_unknown_symbol_is_refused(self, subject):
        with pytest.raises(UnknownSymbolError):
            await subject.client.market("NO/SUCH")

    async def test_a_symbol_is_found_by_the_exchanges_name(self, subject):
        assert await subject.client.symbol_of(subject.market_id) == subject.symbol
        assert await subject.client.symbol_of("NOSUCH") is None

    async def test_the_clock_is_about_now_if_it_is_told(self, subject):
        told = await subject.client.fetch_time()

        assert told is None or abs(told - subject.now()) < timedelta(minutes=1)


async def opens_inside(subject: Subject, window: TimeRange) -> list[int]:
    """Fetch a page and return the open times in *window*, ascending; what else may have come is left to others."""
    page = await subject.client.fetch_ohlcv(subject.series, window)
    return sorted(time for time in timestamps_ms(page.rows).tolist() if to_ms(window.start) <= time < to_ms(window.end))
