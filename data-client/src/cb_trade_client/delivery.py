"""Checking that an answer arrives whole: short or muddled data must fail, never look like a quiet market."""

from datetime import datetime

import numpy as np
import pyarrow as pa

from cb_trade_client.answers import ChunkHeader, HistoryCompleted, HistoryStarted
from cb_trade_client.errors import ProtocolError
from cb_trade_client.instants import from_ms, to_ms
from cb_trade_client.synthetic_rows import count_synthetic


class Delivery:
    """What has arrived of one answer so far."""

    def __init__(self, started: HistoryStarted) -> None:
        self._start_ms = to_ms(started.start)
        self._end_ms = to_ms(started.end)
        self._newest_ms = self._start_ms - 1
        self._required: list[str] | None = None  # columns without nulls; all batches have the same
        self.chunks = 0
        self.rows = 0
        self.synthetic_rows = 0
        self.until: datetime | None = None
        """Exclusive end of what has arrived; None before the first chunk."""

    def add(self, header: ChunkHeader, batch: pa.RecordBatch) -> None:
        """Count one chunk in, after checking that it is the next one, whole, in time order and inside the range."""
        if header.sequence != self.chunks:
            raise ProtocolError(
                f"chunk {header.sequence} arrived where chunk {self.chunks} was due",
                code="missing_chunk",
                details={"expected": self.chunks, "received": header.sequence},
            )
        if header.rows != batch.num_rows:
            raise ProtocolError(f"chunk {header.sequence} announced {header.rows} rows but holds {batch.num_rows}")
        self._check_presence(header, batch)
        self._check_times(header, batch)
        self.chunks += 1
        self.rows += batch.num_rows
        self.synthetic_rows += count_synthetic(batch)
        self.until = header.end

    def settle(self, completed: HistoryCompleted) -> None:
        """Check the receipt against what arrived."""
        if (completed.rows, completed.chunks) != (self.rows, self.chunks):
            raise ProtocolError(
                f"the service sent {completed.rows} rows in {completed.chunks} chunks, "
                f"but {self.rows} rows in {self.chunks} chunks arrived",
                code="missing_chunk",
            )
        if (completed.synthetic_rows or 0) != self.synthetic_rows:
            raise ProtocolError(
                f"the service tells {completed.synthetic_rows} synthetic rows, but {self.synthetic_rows} arrived"
            )

    def _check_presence(self, header: ChunkHeader, batch: pa.RecordBatch) -> None:
        if self._required is None:
            self._required = [field.name for field in batch.schema if field.name == "timestamp" or not field.nullable]
        for name in self._required:
            if batch.column(name).null_count:
                raise ProtocolError(f"chunk {header.sequence} holds a row without a {name}")

    def _check_times(self, header: ChunkHeader, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        # Not with Arrow's own functions: each call takes longer than the whole of this.
        times = batch.column("timestamp").view(pa.int64()).to_numpy()
        first_ms, last_ms = int(times[0]), int(times[-1])
        # Only what has ids may happen several times in a millisecond, and then comes in one chunk.
        may_repeat = "id" in batch.schema.names
        in_order = bool(np.all(times[1:] >= times[:-1] if may_repeat else times[1:] > times[:-1]))
        if first_ms <= self._newest_ms or not in_order:
            raise ProtocolError(f"chunk {header.sequence} is out of time order or repeats a time")
        if last_ms >= self._end_ms or to_ms(header.end) <= last_ms:
            raise ProtocolError(f"chunk {header.sequence} reaches {from_ms(last_ms)}, beyond the range it announces")
        self._newest_ms = last_ms
