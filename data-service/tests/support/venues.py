"""The proven exchanges as tests know them: written down here, not read from the code under test.

What a range costs at the least is counted here from the calendar alone, so that the service's own planning is not what
it is measured by.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from service_harness import Client, Reply, ms

from cb_trade_simulator import ExchangeSimulator, RunningClock

Opens = npt.NDArray[np.int64]  # open times in epoch milliseconds, ascending

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_MONDAY_MS = -3 * _UNIT_MS["d"]  # 1969-12-29


@dataclass(frozen=True)
class Venue:
    """An exchange, and what of it a test needs to know.

    Attributes:
        page_bars: The most bars that one answer holds.
        perpetual: A linear perpetual that it trades, if it trades any.
        has_weeks: Whether it serves `1w`; so for months.
        outage: An hour or more without any candle; no candle opens between the two.
        listing_calls: The most calls that looking for the first bar of a series takes.
        now: Where its clock stands when it begins to run; None for the present. In the past only where nothing but the
            newest bars can be had.
    """

    name: str
    page_bars: int
    outage: tuple[datetime, datetime]
    perpetual: str | None = None
    has_weeks: bool = True
    has_months: bool = True
    listing_calls: int = 12
    now: datetime | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def keeps_newest_only(self) -> bool:
        return self.now is not None

    def simulator(self) -> ExchangeSimulator:
        """Return one that is not serving yet."""
        return ExchangeSimulator(self.name, seed=1, clock=None if self.now is None else RunningClock(self.now))


def _times(*texts: str) -> Any:
    return tuple(datetime.fromisoformat(text).replace(tzinfo=UTC) for text in texts)


VENUES = (
    Venue("binance", 1000, _times("2020-06-28T02:00", "2020-06-28T05:00"), "BTC/USDT:USDT", listing_calls=1),
    Venue("bybit", 1000, _times("2023-05-17T06:00", "2023-05-17T08:30"), "BTC/USDT:USDT", listing_calls=1),
    Venue("coinbase", 300, _times("2023-03-04T02:00", "2023-03-04T06:30"), has_weeks=False, has_months=False),
    Venue("coinbaseexchange", 300, _times("2023-03-04T02:00", "2023-03-04T06:30"), has_weeks=False, has_months=False),
    Venue("cryptocom", 300, _times("2023-08-09T10:00", "2023-08-09T13:00"), "BTC/USD:USD"),
    Venue(
        "kraken",
        720,
        _times("2023-06-14T07:10", "2023-06-14T08:25"),
        has_months=False,
        now=datetime(2023, 6, 16, 16, 0, 15, tzinfo=UTC),  # two days after its outage
    ),
    Venue("okx", 300, _times("2022-12-18T03:10", "2022-12-18T08:00"), "BTC/USDT:USDT"),
)
PAGING = tuple(venue for venue in VENUES if not venue.keeps_newest_only)


def some(*names: str) -> list[Venue]:
    """Return the venues of these names."""
    return [venue for name in names for venue in VENUES if venue.name == name]


def opens(timeframe: str, start: datetime, end: datetime) -> Opens:
    """Return every open time that the calendar has in [start, end)."""
    count, unit = int(timeframe[:-1]), timeframe[-1]
    if unit == "M":
        months = np.arange(np.datetime64(start.date(), "M"), np.datetime64(end.date(), "M") + 1)
        found = months.astype("datetime64[ms]").astype(np.int64)
    else:
        step, origin = count * _UNIT_MS[unit], _MONDAY_MS if unit == "w" else 0
        found = np.arange(origin + -(-(ms(start) - origin) // step) * step, ms(end), step)
    return found[(found >= ms(start)) & (found < ms(end))]


def fewest_pages(timeframe: str, wanted: Opens, page_bars: int) -> int:
    """Return how many pages it takes at the least to ask for these bars: none of them holds bars of two partitions."""
    unit = timeframe[-1]
    partitions = {"s": "M", "m": "M", "h": "Y"}.get(unit)
    times = wanted.astype("datetime64[ms]")
    numbers = times.astype("datetime64[M]").astype(np.int64) if unit == "M" else _numbers(timeframe, wanted)
    groups = times.astype(f"datetime64[{partitions}]").astype(np.int64) if partitions else np.zeros(len(wanted))
    pages = 0
    for group in np.unique(groups):
        left = numbers[groups == group]
        while len(left):
            pages += 1
            left = left[left >= left[0] + page_bars]
    return pages


def pages_for(venue: Venue, timeframe: str, start: datetime, end: datetime) -> int:
    """Return the fewest pages for every bar of [start, end)."""
    return fewest_pages(timeframe, opens(timeframe, start, end), venue.page_bars)


def oldest_kept(venue: Venue, timeframe: str, now: datetime) -> datetime:
    """Return the open time of the oldest bar that a venue serves which keeps its newest only, the open one included."""
    back = timedelta(milliseconds=_UNIT_MS[timeframe[-1]] * int(timeframe[:-1]) * (venue.page_bars + 1))
    known = opens(timeframe, now - back, now)
    return datetime.fromtimestamp(int(known[-venue.page_bars]) / 1000, UTC)


def _numbers(timeframe: str, wanted: Opens) -> Opens:
    return (wanted - _MONDAY_MS) // (_UNIT_MS[timeframe[-1]] * int(timeframe[:-1]))


async def ask(client: Client, venue: Venue, start: datetime, end: datetime, **fields: Any) -> Reply:
    reply = await client.history(start, end, exchange=venue.name, **fields)
    assert reply.last["type"] == "historical_data_complete", reply.last
    return reply


def states(reply: Reply) -> list[str]:
    return [segment["state"] for segment in reply.last["coverage"]]
