"""Gaps that travel with a table: what is missing belongs to the data, not to the program that fetched it."""

from collections.abc import Sequence

import orjson
import pyarrow as pa

from cb_trade_client.answers import CoverageSegment
from cb_trade_client.instants import to_ms

GAPS_KEY = b"cb_trade.gaps"
"""Key in the schema's metadata: a JSON list of `{start_time, end_time, state, reason, code}`, times in epoch ms."""


def encode_gaps(gaps: Sequence[CoverageSegment]) -> bytes:
    """Return *gaps* as the JSON kept under `GAPS_KEY`."""
    return orjson.dumps(
        [
            {
                "start_time": to_ms(gap.start),
                "end_time": to_ms(gap.end),
                "state": gap.state,
                "reason": gap.reason,
                "code": gap.code,
            }
            for gap in gaps
        ]
    )


def with_gaps(table: pa.Table, gaps: Sequence[CoverageSegment]) -> pa.Table:
    """Return *table* with *gaps* in its schema's metadata."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), GAPS_KEY: encode_gaps(gaps)})


def gaps_of(table: pa.Table) -> tuple[CoverageSegment, ...]:
    """Return the gaps of a table made by `DataClient.history`, oldest first; empty when nothing is missing.

    Raises:
        KeyError: The table does not say; an operation on it has dropped the metadata.
    """
    return tuple(map(CoverageSegment.from_message, orjson.loads((table.schema.metadata or {})[GAPS_KEY])))
