"""An answer with bars that are put together from the shorter ones of the answer below."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import pyarrow as pa

from cb_trade_data.historical.interfaces import IAnswer
from cb_trade_data.historical.views.derivation import Derivation
from cb_trade_data.models.digest import AnswerDigest
from cb_trade_data.models.frame import Stretch
from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State

# About a millisecond's worth; more of them at once are put together in a thread.
_ROWS_ON_THE_LOOP_MAX: Final = 65_536


class DerivedAnswer:
    """See `IAnswer`. Of rows and calls, the receipt counts those of the answer below."""

    def __init__(
        self,
        series: Series,
        span: TimeRange,
        estimated_rows: int,
        below: IAnswer,
        derivation: Derivation,
        *,
        tells_silence: bool,
    ) -> None:
        """
        Args:
            span: What was asked for, clipped to the newest closed bar.
            below: The shorter bars of all bars that open in it; its receipt is this answer's, too.
            derivation: What that receipt is seen by.
            tells_silence: Whether a view on this answer is told of time without bars, by stretches without rows.
        """
        self.start = span.start
        self.end = span.end
        self.estimated_rows = estimated_rows
        self.source_rows = below.source_rows
        self.receipt = below.receipt
        self._below = below
        self._derivation = derivation
        self._tells_silence = tells_silence
        self._digest = AnswerDigest(series)
        self._grid = series.grid

    async def stretches(self) -> AsyncGenerator[Stretch, None]:
        """See `IAnswer.stretches`."""
        async with aclosing(self._below.stretches()) as stretches:
            async for stretch in stretches:
                bars = await self._put_together(stretch.rows)
                if bars.num_rows or self._tells_silence:
                    yield self._delivered(bars)
        if (unsaid := self._derivation.unsaid) is not None:
            self.receipt.enter([Segment(unsaid, State.UNKNOWN)])
        bars = self._derivation.add(OHLCV_SCHEMA.empty_table())
        if bars.num_rows:
            yield self._delivered(bars)
        self.receipt.digest = self._digest.text()  # in place of that of the shorter bars

    async def _put_together(self, rows: pa.Table) -> pa.Table:
        if rows.num_rows > _ROWS_ON_THE_LOOP_MAX:
            return await asyncio.to_thread(self._derivation.add, rows)
        return self._derivation.add(rows)

    def _delivered(self, bars: pa.Table) -> Stretch:
        if bars.num_rows:
            first, last = (from_ms(bars.column("timestamp")[place].value) for place in (0, -1))
            self._digest.add(TimeRange(first, self._grid.advance(last, 1)), bars)
        return Stretch(bars)
