"""What every IExchangeAPIClient promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
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
        symbol: Has 1m bars from `listed_at` on, without a hole for the first thousand minutes.
        opens_in: The true open times, in epoch milliseconds, read around the client.
    """

    client: IExchangeAPIClient
    symbol: str
    market_id: str
    listed_at: datetime
    opens_in: Callable[[TimeRange], list[int]]

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

        page = await subject.client.fetch_ohlcv(subject.series, window)

        inside = [time for time in timestamps_ms(page.rows).tolist() if to_ms(window.start) <= time < to_ms(window.end)]
        assert sorted(inside) == subject.opens_in(window)
        assert len(inside) == 50

    async def test_a_full_page_is_as_long_as_the_facts_say(self, subject):
        window = subject.window(0, subject.client.facts.page_limit_bars)

        page = await subject.client.fetch_ohlcv(subject.series, window)

        assert sorted(timestamps_ms(page.rows).tolist()) == subject.opens_in(window)
        assert page.rows.num_rows == subject.client.facts.page_limit_bars

    async def test_the_ends_of_a_window_are_inclusive_and_exclusive(self, subject):
        window = subject.window(5, 1)

        page = await subject.client.fetch_ohlcv(subject.series, window)

        assert timestamps_ms(page.rows).tolist() == [to_ms(window.start)]

    async def test_before_listing_no_bar_of_the_window_comes(self, subject):
        window = subject.window(-500, 100)

        page = await subject.client.fetch_ohlcv(subject.series, window)

        assert not np.any(timestamps_ms(page.rows) < to_ms(window.end))

    async def test_the_first_open_is_the_listing(self, subject):
        assert await subject.client.fetch_first_open(subject.series) == subject.listed_at

    async def test_a_known_symbol_has_the_exchanges_name(self, subject):
        assert (await subject.client.market(subject.symbol)).id == subject.market_id

    async def test_an_unknown_symbol_is_refused(self, subject):
        with pytest.raises(UnknownSymbolError):
            await subject.client.market("NO/SUCH")

    async def test_the_clock_is_about_now(self, subject):
        told = await subject.client.fetch_time()

        assert told is not None
        assert abs(told - utc_now()) < timedelta(minutes=1)
