"""Random ranges over random histories, against an oracle that counts minutes one by one."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

from answers import tables
from fake_exchange import SYMBOL, FakeExchange, rows_at
from fake_service import minute, service_over
from hypothesis import given, settings
from hypothesis import strategies as st

from cb_trade_data.historical.manager import HistoricalDataManagerImpl
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State

MINUTES = 120
PAGE_LIMIT_BARS = 7


def history(listed: int, holes: set[int]) -> list[int]:
    return [number for number in range(listed, MINUTES) if number not in holes]


histories = st.builds(
    history,
    listed=st.integers(0, MINUTES // 2),
    # Long holes as well as single minutes: pages that are empty as a whole are the interesting ones.
    holes=st.lists(st.tuples(st.integers(0, MINUTES), st.integers(1, 25)), max_size=5).map(
        lambda spans: {number for start, length in spans for number in range(start, start + length)}
    ),
)
ranges = st.tuples(st.integers(0, MINUTES - 1), st.integers(1, MINUTES)).map(
    lambda pair: (pair[0], min(MINUTES, pair[0] + pair[1]))
)


async def ask(manager: HistoricalDataManagerImpl, start: int, end: int):
    series = manager.series("fake", SYMBOL, "ohlcv", "1m")
    answer = await manager.open(series, TimeRange(minute(start), minute(end)), refresh=False)
    async with aclosing(tables(answer)) as batches:
        rows = [row for batch in [batch async for batch in batches] for row in batch.to_pylist()]
    return rows, answer.receipt


class Oracle:
    """Knows, minute by minute, what a perfect service would know, and what it would have to ask."""

    def __init__(self, existing: list[int]) -> None:
        self.existing = set(existing)
        self.settled: set[int] = set()

    def calls_for(self, start: int, end: int) -> int:
        """Return the fewest pages that settle the range, and learn from them."""
        calls = 0
        for border, low, high in ((0, start, min(end, 60)), (60, max(start, 60), end)):
            while missing := [number for number in range(low, high) if number not in self.settled]:
                window = range(missing[0], missing[0] + PAGE_LIMIT_BARS)
                calls += 1
                older = self.existing & self.settled & set(range(border, missing[0]))
                self.settled |= {number for number in missing if number in window}
                reached = range(missing[0], max(number for number in missing if number in window) + 1)
                if not self.existing & set(reached) or (missing[0] not in self.existing and not older):
                    # The listing is looked up after an empty page, and after one whose first bar is missing while none
                    # from before is known. It settles everything before it.
                    self.settled |= set(range(min(self.existing, default=0)))
        return calls


@given(existing=histories, requests=st.lists(ranges, min_size=1, max_size=6), restarts=st.lists(st.booleans()))
@settings(max_examples=80, deadline=None)
def test_any_sequence_of_ranges_is_exact_and_minimal(existing, requests, restarts):
    async def scenario() -> None:
        exchange = FakeExchange(map(minute, existing), PAGE_LIMIT_BARS)
        oracle = Oracle(existing)
        pending = list(requests)
        with tempfile.TemporaryDirectory() as folder:
            for restart in [*restarts[: len(requests)], False]:
                async with service_over(exchange, Path(folder)) as manager:
                    while pending:
                        start, end = pending.pop(0)
                        before = len(exchange.windows)
                        rows, receipt = await ask(manager, start, end)

                        truth = rows_at(minute(number) for number in existing if start <= number < end)
                        assert rows == truth.to_pylist()
                        calls = len(exchange.windows) - before
                        assert calls == receipt.exchange_calls == (oracle.calls_for(start, end) if existing else calls)
                        _assert_tiles(receipt.coverage, start, end)
                        _assert_held_from(min(existing, default=MINUTES), receipt.coverage)
                        if restart:
                            break
            assert exchange.probes <= 1

    asyncio.run(scenario())


def _assert_tiles(coverage, start: int, end: int) -> None:
    """Every instant of the range is explained, once."""
    assert coverage[0].range.start == minute(start)
    assert coverage[-1].range.end == minute(end)
    for one, following in pairwise(coverage):
        assert one.range.end == following.range.start


def _assert_held_from(first: int, coverage) -> None:
    """A hole lies between two bars: before the first one there is nothing to be held."""
    assert all(segment.range.start >= minute(first) for segment in coverage if segment.state is State.HELD)


@given(existing=histories, requests=st.lists(ranges, min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_ranges_asked_for_at_once_are_exact_and_ask_for_no_minute_twice(existing, requests):
    async def scenario() -> None:
        exchange = FakeExchange(map(minute, existing), PAGE_LIMIT_BARS)
        with tempfile.TemporaryDirectory() as folder:
            async with service_over(exchange, Path(folder)) as manager:
                answers = await asyncio.gather(*(ask(manager, start, end) for start, end in requests))
                windows = len(exchange.windows)
                # Every page begins with a bar that was missing: two that begin alike would fetch it twice.
                assert len({window.start for window in exchange.windows}) == windows
                again = await asyncio.gather(*(ask(manager, start, end) for start, end in requests))

            assert len(exchange.windows) == windows
            for (start, end), (rows, receipt), (rows_again, _) in zip(requests, answers, again, strict=True):
                truth = rows_at(minute(number) for number in existing if start <= number < end).to_pylist()
                assert rows == truth
                assert rows_again == truth
                _assert_held_from(min(existing, default=MINUTES), receipt.coverage)

    asyncio.run(scenario())
