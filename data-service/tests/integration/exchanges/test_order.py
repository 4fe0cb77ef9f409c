"""Who waits for little goes first, and who leaves makes room: at an exchange that is asked as fast as it allows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from service_harness import RunningService, at, eventually, historical, ms, running_service
from venues import Venue, some

from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl
from cb_trade_data.exchange_source.plugins.exchanges import EXCHANGES
from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_data.models.time_range import TimeRange

pytestmark = pytest.mark.asyncio(loop_scope="module")

MORE_PAGES_MAX = 3
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
FIVE_YEARS = at("2019-01-01"), at("2024-01-01")


@pytest_asyncio.fixture(loop_scope="module")
async def service(simulators, tmp_path) -> AsyncIterator[RunningService]:
    exchanges = {name: simulator.base_url for name, simulator in simulators.items()}
    async with running_service(tmp_path, exchanges, stopwatch=Stopwatch()) as running:
        yield running


@pytest.fixture
def venue() -> Venue:
    """One that allows ten pages a second, so that each is an event."""
    return some("coinbase")[0]


def places(venue: Venue) -> int:
    """Return how many calls may be under way at once."""
    return next(facts.concurrent_calls for facts in EXCHANGES if facts.id == venue.name)


OF_WHAT = pytest.mark.parametrize(
    ("symbol", "start"),
    [
        pytest.param("BTC/USDT", at("2019-01-25"), id="of the same month"),
        pytest.param("BTC/USDT", at("2021-06-10"), id="of another month"),
        pytest.param("ETH/USDT", at("2021-06-10"), id="of another symbol"),
    ],
)


@OF_WHAT
async def test_a_day_asked_for_in_the_middle_of_five_years_comes_after_three_more_pages_at_most(
    service, simulator, venue, symbol, start
):
    """Counted from the question on, at a venue so slow that nobody's page begins while it travels."""
    asked: dict[str, Any] = {"exchange": venue.name, "timeframe": "1m"}
    async with service.client() as patient, service.client() as hasty:
        await hasty.history(start - MINUTE, start, **asked, symbol=symbol)  # so that nothing is new but the day
        simulator.calls.reset()
        await patient.send(historical(*FIVE_YEARS, **asked, symbol="BTC/USDT"))
        await simulator.wait_for_calls("klines", 4)
        before = simulator.calls.by_endpoint["klines"]
        await hasty.send(historical(start, start + DAY, **asked, symbol=symbol))
        assert (await hasty.receive())["type"] == "historical_data_start"
        chunk = await hasty.receive()
        more = simulator.calls.by_endpoint["klines"] - before

    assert (chunk["type"], chunk["start_time"]) == ("historical_data_chunk", ms(start))
    assert more <= MORE_PAGES_MAX


@dataclass
class Turns:
    """What pages wait for their turn, or have begun.

    Attributes:
        urgencies: What tells, of each page that ever waited, how many bars are wanted by whom it is most urgent for.
        begun: Where each page starts, in the order in which their turns came.
    """

    urgencies: list[Callable[[], int]] = field(default_factory=list)
    begun: list[datetime] = field(default_factory=list)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    """Watch the door to the exchanges: from outside nobody sees when a request, long accepted, begins to wait there."""
    turns = Turns()
    fetch_page = DataSourceConnectorImpl.fetch_page

    async def watched(self: Any, series: Any, next_window: Callable[[], TimeRange | None], urgency: Any) -> Any:
        def noted() -> TimeRange | None:
            window = next_window()
            if window is not None:
                turns.begun.append(window.start)
            return window

        turns.urgencies.append(urgency)
        return await fetch_page(self, series, noted, urgency)

    monkeypatch.setattr(DataSourceConnectorImpl, "fetch_page", watched)
    return turns


@OF_WHAT
@pytest.mark.parametrize("venue", some("binance", "coinbase"), ids=str)
async def test_a_day_that_waits_is_asked_for_before_all_that_is_left_of_five_years(
    service, simulator, venue, turns, symbol, start
):
    """In Binance's burst, too, where sixteen pages are under way at once and the next ones begin without a pause.

    Every place is taken by a call that is not answered until the day waits; of those that begin then, three are
    answered. Nothing is held up before, while the question travels and its partition is locked and read.
    """
    asked: dict[str, Any] = {"exchange": venue.name, "timeframe": "1m"}
    # Without a limit to what is read ahead, for the years have no reader, and a reader that stalls is slow to leave.
    async with service.client(max_queue=None) as patient, service.client() as hasty:
        await hasty.history(start - MINUTE, start, **asked, symbol=symbol)  # so that nothing is new but the day
        simulator.calls.reset()
        simulator.hold("klines", after=3)
        await patient.send(historical(*FIVE_YEARS, **asked, symbol="BTC/USDT"))
        await simulator.wait_for_calls("klines", 3 + places(venue))
        await hasty.send(historical(start, start + DAY, **asked, symbol=symbol))
        await eventually(lambda: any(urgency() == DAY // MINUTE for urgency in turns.urgencies))
        before = len(turns.begun)
        simulator.release("klines")
        simulator.hold("klines", after=3 + places(venue) + MORE_PAGES_MAX)
        await eventually(lambda: len(turns.begun) > before)
        assert turns.begun[before] == start
        assert (await hasty.receive())["type"] == "historical_data_start"
        chunk = await hasty.receive()
        simulator.release("klines")

    assert (chunk["type"], chunk["start_time"]) == ("historical_data_chunk", ms(start))


async def test_a_cancelled_request_frees_its_place(service, simulator, venue):
    asked: dict[str, Any] = {"exchange": venue.name, "timeframe": "1m"}
    async with service.client() as leaving, service.client() as staying:
        await staying.history(at("2022-01-01"), at("2022-01-01T00:01"), **asked, symbol="ETH/USDT")
        simulator.calls.reset()
        simulator.hold("klines", after=1)  # the first page tells that the market was listed by then
        await leaving.send(historical(*FIVE_YEARS, **asked, symbol="BTC/USDT", request_id="r1"))
        await eventually(lambda: simulator.calls.by_endpoint["klines"] == 1 + places(venue))
        await leaving.send({"type": "cancel_request", "request_id": "r1"})
        await staying.send(historical(at("2022-01-01"), at("2022-01-02"), **asked, symbol="ETH/USDT"))
        # Those of the first are still held: only a place that was given back can have been taken.
        await eventually(lambda: any("ETH" in path for path in simulator.calls.paths("klines")))
        simulator.release("klines")
        reply = await staying.rest()

    assert reply.last["rows"] == 1440
    assert sum("BTC" in path for path in simulator.calls.paths("klines")) == 1 + places(venue)
