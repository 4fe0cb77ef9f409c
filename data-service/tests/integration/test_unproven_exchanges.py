"""An exchange without a row of its own: the same rows through what CCXT says of its class, perhaps with more calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from ccxt_venues import FACTS, NOW, Venue, running_venue
from history_rig import HistoryRig
from service_harness import HURRIED

from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.exchange_source.plugins.generic import generic_facts
from cb_trade_data.historical.receipt import Receipt
from cb_trade_data.models.instants import to_ms
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import State
from cb_trade_simulator.faults import RowsFault
from cb_trade_simulator.venues import VENUES

SYMBOL, TIMEFRAME = "ADA/BTC", "1m"  # where trade is thin: some venues have no bar of some minutes
PAGE_BARS, PAGES = 60, 6


@pytest.mark.parametrize("name", FACTS)
async def test_a_proven_exchange_is_exact_through_the_generic_row_too(name: str):
    outage = VENUES[name].outages[-1]
    around = TimeRange(outage.start - timedelta(minutes=70), outage.end + timedelta(minutes=70))
    async with running_venue(generic_facts(name), around.end + timedelta(hours=2)) as venue:
        for symbol, timeframe in (("BTC/USDT", "1m"), ("ADA/BTC", "1m"), ("BTC/USDT", "1h")):
            window = Timeframe.parse(timeframe).snap(around)

            rows = await venue.rows(symbol, timeframe, window)

            assert rows == venue.truth(symbol, timeframe, window), (symbol, timeframe)
            assert 0 < len(rows) <= 140  # the outage is a hole


@pytest.mark.parametrize("name", FACTS)
def test_a_generic_row_promises_no_more_than_the_proven_one(name: str):
    generic, proven = generic_facts(name), FACTS[name]

    assert set(generic.timeframes) <= set(proven.timeframes)
    assert generic.page_limit_bars <= proven.page_limit_bars
    assert generic.pace.calls_per_sec <= proven.pace.calls_per_sec


# --- Lies over HTTP --------------------------------------------------------------------------------------------------


def without_rows(document: Any) -> Any:
    """Return an answer that lacks its list of candles and is whole otherwise."""
    if isinstance(document, list):
        return {"retCode": 0}
    return {
        name: without_rows(value) if isinstance(value, dict) else value
        for name, value in document.items()
        if not (isinstance(value, list) and value)
    }


NO_LIST = RowsFault(without_rows)
LIES = ("cut-json", "html", "truncated", "duplicate", "conflict", "stray", "null", "unsorted")
# An answer without a list has another form everywhere; the other lies are met by each venue in its turn.
liars = pytest.mark.parametrize(
    ("name", "lie"),
    [
        *(pytest.param(name, NO_LIST, id=f"{name}-no-list") for name in FACTS),
        *(pytest.param(name, lie, id=f"{name}-{lie}") for name, lie in zip(cycle(FACTS), LIES, strict=False)),
    ],
)


class Asked:
    """A range of an exchange that lies, asked of a whole service that knows nothing of the exchange."""

    def __init__(self, rig: HistoryRig, venue: Venue) -> None:
        # Kraken serves half a day; elsewhere a bar that is left out would be taken for a genuine hole.
        ago = timedelta(hours=8) if venue.client.facts.id == "kraken" else timedelta(days=3)
        start = Timeframe.parse("1h").floor(NOW - ago)
        self.wanted = TimeRange(start, start + timedelta(minutes=PAGE_BARS * PAGES))
        self.truth = venue.simulator.candles(SYMBOL, TIMEFRAME, self.wanted.start, self.wanted.end)
        self._rig, self._series = rig, venue.series(SYMBOL, TIMEFRAME)

    async def answer(self) -> tuple[pa.Table, Receipt]:
        """Ask for the range once, and see that what comes is true and what does not come is not taken for absent."""
        self._rig.now += timedelta(seconds=1)  # what has failed is asked for again by those who come later
        rows, receipt = await self._rig.answer(self.wanted, series=self._series)
        came = np.isin(self.truth["timestamp"], timestamps_ms(rows))
        assert rows_of(rows) == self.truth[came].tolist()
        failed = [segment for segment in receipt.coverage if segment.state is State.FAILED]
        assert all(segment.reason for segment in failed)
        for time in self.truth["timestamp"][~came].tolist():
            assert any(to_ms(gap.range.start) <= time < to_ms(gap.range.end) for gap in failed), time
        return rows, receipt

    async def answer_with_all(self) -> None:
        """Ask until nothing has failed: what came while it lied must not hide anything now."""
        while True:
            rows, receipt = await self.answer()
            if not any(segment.state is State.FAILED for segment in receipt.coverage):
                assert rows_of(rows) == self.truth.tolist()
                return


def rows_of(rows: pa.Table) -> list[tuple[Any, ...]]:
    columns = [timestamps_ms(rows).tolist(), *(column.to_pylist() for column in rows.columns[1:])]
    return list(zip(*columns, strict=True))


@asynccontextmanager
async def asking(name: str, root: Path) -> AsyncIterator[tuple[Asked, Venue]]:
    facts = replace(generic_facts(name), page_limit_bars=PAGE_BARS)
    async with running_venue(facts) as venue:
        rig, registry = HistoryRig(root, NOW), PluginRegistry()
        registry.register(facts, lambda: venue.client)
        rig.connect(venue.client, DataSourceConnectorImpl(registry, rig.present, HURRIED))
        try:
            yield Asked(rig, venue), venue
        finally:
            await rig.fetcher.close()
            await rig.source.close()
            await rig.storage.close()


@liars
async def test_where_every_answer_lies_nothing_is_taken_for_absent_that_is_not(name, lie, tmp_path):
    async with asking(name, tmp_path) as (asked, venue):
        venue.simulator.inject(lie, times=None)
        await asked.answer()
        venue.simulator.clear_faults()

        await asked.answer_with_all()


@liars
async def test_where_a_third_of_all_answers_lie_the_rest_is_told(name, lie, tmp_path):
    async with asking(name, tmp_path) as (asked, venue):
        venue.simulator.inject(lie, times=PAGES // 3)

        rows, _ = await asked.answer()

        assert rows_of(rows) == asked.truth.tolist()
