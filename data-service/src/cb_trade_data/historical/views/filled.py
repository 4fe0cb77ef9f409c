"""An answer with rows of our own where the exchange has none, marked as such."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from datetime import datetime

import pyarrow as pa

from cb_trade_data.historical.interfaces import IAnswer
from cb_trade_data.historical.views.filling import Filling
from cb_trade_data.models.frame import Stretch
from cb_trade_data.models.instants import from_ms


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
                if from_ms(stretch.rows.column("timestamp")[0].value) > self._first_open:
                    await self._begin()
                self._close_before = None
                for rows in self._counted(self._filling.add(stretch.rows)):
                    yield Stretch(rows)
        await self._begin()
        for rows in self._counted(self._filling.rest()):
            yield Stretch(rows)

    async def _begin(self) -> None:
        if self._close_before is not None:
            self._filling.close = await self._close_before()
            self._close_before = None

    def _counted(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for rows in tables:
            self.receipt.synthetic_rows = self._filling.synthetic_rows
            yield rows
