"""An answer with rows of our own where the exchange has none, marked as such."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from datetime import datetime

import pyarrow as pa

from cb_trade_data.historical.interfaces import IAnswer
from cb_trade_data.historical.views.filling import Filling
from cb_trade_data.models.frame import Stretch
from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.market import OHLCV_SCHEMA


class FilledAnswer:
    """See `IAnswer`. Its rows have a column more; all else that is told of the real ones is as without the others."""

    def __init__(
        self,
        below: IAnswer,
        first_open: datetime,
        filling: Filling,
        close_before: Callable[[], Awaitable[float | None]] | None,
    ) -> None:
        """
        Args:
            below: The real rows; its receipt is this answer's, too.
            first_open: Of the bars that were asked for.
            filling: What that receipt is seen by.
            close_before: Looks up at which price the bar before closed; None where nobody needs it.
        """
        self.start = below.start
        self.end = below.end
        self.estimated_rows = below.estimated_rows
        self.source_rows = below.source_rows
        self.receipt = below.receipt
        self._below = below
        self._first_open = first_open
        self._filling = filling
        self._close_before = close_before

    async def stretches(self) -> AsyncGenerator[Stretch, None]:
        """See `IAnswer.stretches`."""
        async with aclosing(self._below.stretches()) as stretches:
            async for stretch in stretches:
                async for filled in self._filled(stretch.rows):
                    yield filled
        async for filled in self._filled(OHLCV_SCHEMA.empty_table()):
            yield filled

    async def _filled(self, rows: pa.Table) -> AsyncGenerator[Stretch, None]:
        if self._close_before is not None:
            if rows.num_rows == 0 or from_ms(rows.column("timestamp")[0].value) > self._first_open:
                self._filling.close = await self._close_before()
            self._close_before = None
        tables = self._filling.add(rows)
        while (filled := await self._next(tables)) is not None:
            self.receipt.synthetic_rows = self._filling.synthetic_rows
            yield Stretch(filled)

    async def _next(self, tables: Iterator[pa.Table]) -> pa.Table | None:
        return await asyncio.to_thread(next, tables, None) if self._filling.takes_long else next(tables, None)
