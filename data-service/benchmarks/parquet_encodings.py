"""What the ways to write a partition as Parquet cost: bytes on disk, time to write, to read it, to read a day of it.

On a simulated month of minutes and, where they are at hand, on candles as an exchange published them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from _market import DAY_ROWS, minutes, recorded
from _report import machine, parser, table, write

from cb_trade_data.models.market import OHLCV_SCHEMA

_RUNS: Final = 15
_FLOATS: Final = [field.name for field in OHLCV_SCHEMA if pa.types.is_floating(field.type)]
_CHOSEN: Final = ("plain", "lz4", 4_320)


def _options(encoding: str, compression: str, group_rows: int) -> dict[str, Any]:
    codec, _, level = compression.partition(" ")
    options: dict[str, Any] = {"compression": codec, "row_group_size": group_rows, "write_page_index": True}
    if level:
        options["compression_level"] = int(level)
    if encoding == "dictionary":
        return options
    floats = {"plain": "PLAIN", "split bytes": "BYTE_STREAM_SPLIT"}[encoding]
    encodings = {"timestamp": "DELTA_BINARY_PACKED", **dict.fromkeys(_FLOATS, floats)}
    return options | {"use_dictionary": False, "column_encoding": encodings}


def _choices() -> Iterator[tuple[str, str, int]]:
    for encoding in ("plain", "split bytes", "dictionary"):
        for compression in ("lz4", "snappy", "zstd 1", "zstd 3"):
            yield encoding, compression, 4_320
    for group_rows in (1_440, 8_640, 44_640):
        yield "plain", "lz4", group_rows


def _median_ms(work: Callable[[], object]) -> float:
    samples = []
    for _ in range(_RUNS):
        begun = time.perf_counter()
        work()
        samples.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(samples)


def _written(rows: pa.Table, options: dict[str, Any]) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, **options)
    return sink.getvalue()


def _read(data: pa.Buffer, groups: list[int] | None = None) -> pa.Table:
    file = pq.ParquetFile(pa.BufferReader(data))
    return file.read_row_groups(list(range(file.num_row_groups)) if groups is None else groups, use_threads=False)


def _figures(rows: pa.Table, options: dict[str, Any]) -> list[str]:
    data = _written(rows, options)
    if not _read(data).replace_schema_metadata(None).equals(rows.replace_schema_metadata(None)):
        raise SystemExit(f"not the same rows after a round trip: {options}")
    times_ms = (
        _median_ms(lambda: _written(rows, options)),
        _median_ms(lambda: _read(data)),
        _median_ms(lambda: _read(data, [0])),
    )
    return [f"{data.size / rows.num_rows:.1f}", *(f"{each:.2f}" for each in times_ms)]


def _table(rows: pa.Table) -> str:
    lines = []
    for choice in _choices():
        encoding, compression, group_rows = choice
        name = f"{encoding}, {compression}" + (" (ours)" if choice == _CHOSEN else "")
        lines.append([name, f"{group_rows:,}", *_figures(rows, _options(*choice))])
    return table(
        ["encoding of floats", "rows a group", "bytes per bar", "write ms", "read ms", "read a group ms"], lines
    )


def main() -> None:
    arguments = parser("parquet_encodings", __doc__).parse_args()
    parts = [
        f"Medians of {_RUNS} runs, in memory, one thread; {machine('pyarrow')}.",
        f"A simulated month of minutes, {31 * DAY_ROWS:,} rows:",
        _table(minutes(31)),
    ]
    if (real := recorded()) is not None:
        parts += [f"ADA/BTC in 5-minute candles as Binance published them, {real.num_rows:,} rows:", _table(real)]
    text = "\n\n".join(parts)
    print(text)
    if not arguments.no_write:
        write("parquet_encodings", text)


if __name__ == "__main__":
    main()
