"""What an answer delivers, as tables."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import pyarrow as pa

from cb_trade_data.historical.answer import Answer


async def tables(answer: Answer) -> AsyncGenerator[pa.Table, None]:
    """Yield the rows of *answer* as they come. To be closed if left early."""
    async with aclosing(answer.stretches()) as stretches:
        async for stretch in stretches:
            yield stretch.rows
