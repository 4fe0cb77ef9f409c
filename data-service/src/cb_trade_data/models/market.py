"""The Arrow schema of each kind's rows: the one form market data has inside the service."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise, takewhile
from operator import gt
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cb_trade_data.models.instants import to_ms_ceil
from cb_trade_data.models.series import Kind
from cb_trade_data.models.time_range import TimeRange

TIMESTAMP: Final = pa.timestamp("ms", tz="UTC")
_LEVEL: Final = pa.list_(pa.field("item", pa.float64(), nullable=False), 2)  # price, amount
LEVELS: Final = pa.list_(pa.field("item", _LEVEL, nullable=False))


def _numbers(*names: str) -> list[pa.Field]:
    return [pa.field(name, pa.float64(), nullable=False) for name in names]


def _texts(*names: str) -> list[pa.Field]:
    return [pa.field(name, pa.string(), nullable=False) for name in names]


def _levels(*names: str) -> list[pa.Field]:
    return [pa.field(name, LEVELS, nullable=False) for name in names]


_TIME: Final = pa.field("timestamp", TIMESTAMP, nullable=False)

#: `timestamp` is the open time of the bar.
OHLCV_SCHEMA: Final = pa.schema([_TIME, *_numbers("open", "high", "low", "close", "volume")])
#: One row for each trade, or for each aggregate where that is what the exchange keeps. `id` is the exchange's own;
#: `side` is that of the taker: `buy` or `sell`.
TRADES_SCHEMA: Final = pa.schema([_TIME, *_texts("id", "side"), *_numbers("price", "amount")])
#: `timestamp` is when it was paid; `rate` is for that interval, not for a year. `mark_price` is null where the exchange
#: does not tell it with the rate.
FUNDING_RATE_SCHEMA: Final = pa.schema([_TIME, *_numbers("rate"), pa.field("mark_price", pa.float64())])
#: Levels of price and amount, the best one first.
ORDER_BOOK_SCHEMA: Final = pa.schema([_TIME, *_levels("bids", "asks"), pa.field("nonce", pa.int64(), nullable=False)])

#: Bars with a fill: `synthetic` marks those that the exchange does not have.
_SYNTHETIC: Final = pa.field("synthetic", pa.bool_(), nullable=False)
FILLED_SCHEMA: Final = OHLCV_SCHEMA.append(_SYNTHETIC)
#: The same where these have no values.
NULL_FILLED_SCHEMA: Final = pa.schema(
    [_TIME, *(field.with_nullable(True) for field in list(OHLCV_SCHEMA)[1:]), _SYNTHETIC]
)

SCHEMAS: Final[Mapping[Kind, pa.Schema]] = MappingProxyType(
    {
        Kind.OHLCV: OHLCV_SCHEMA,
        Kind.TRADES: TRADES_SCHEMA,
        Kind.FUNDING_RATE: FUNDING_RATE_SCHEMA,
        Kind.ORDER_BOOK: ORDER_BOOK_SCHEMA,
    }
)


def timestamps_ms(rows: pa.Table | pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Return the rows' times as epoch milliseconds."""
    return np.asarray(rows.column("timestamp").to_numpy().view(np.int64))


def text_bytes(texts: pa.StringArray) -> pa.Buffer:
    """Return the UTF-8 of all *texts*, none of them null, one after the other."""
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return pa.py_buffer(b"") if len(texts) == 0 else data.slice(int(places[0]), int(places[-1] - places[0]))


def level_numbers(levels: pa.ListArray | pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return the prices and amounts of all *levels* of order books, one after the other."""
    return np.asarray(pc.list_flatten(pc.list_flatten(levels)).to_numpy())


def rows_before(rows: pa.Table, time_ms: int) -> int:
    """Return how many of *rows*, which must be in time order, are of times before *time_ms*.

    Looks at a few of them, however many they are and in however many pieces, and copies none.
    """
    times = rows.column("timestamp")
    if rows.num_rows == 0 or times[-1].value < time_ms:  # as pages come
        return int(rows.num_rows)
    return bisect_left(range(rows.num_rows), time_ms, key=lambda place: times[place].value)


def slice_range(rows: pa.Table, wanted: TimeRange) -> pa.Table:
    """Return the rows of *wanted* without copying them; *rows* must be in time order."""
    return rows.slice(*_stretch(rows, to_ms_ceil(wanted.start), to_ms_ceil(wanted.end) - 1))


def _stretch(rows: pa.Table, first_ms: int, last_ms: int) -> tuple[int, int]:
    """Return the number of the first row of these times, both inclusive, and how many they are."""
    first = rows_before(rows, first_ms)
    return first, rows_before(rows, last_ms + 1) - first


def sliced(rows: pa.Table, rows_max: int) -> Iterator[pa.Table]:
    """Yield *rows*, in order, in slices of as many as there may be, cut where time moves on.

    Only the rows of one time, where these are more than *rows_max*, make a longer slice.
    """
    first = 0
    while first < rows.num_rows:
        count = rows_until_cut(rows, rows_max, first)
        yield rows.slice(first, count)
        first += count


def rows_until_cut(rows: pa.Table, rows_max: int, first: int = 0) -> int:
    """Return how many rows the first of the slices holds that `sliced` makes of *rows* from number *first* on."""
    rest = rows.num_rows - first
    if rest <= rows_max or "id" not in rows.schema.names:
        return min(rows_max, int(rest))
    time_ms = rows.column("timestamp")[first + rows_max].value
    return rows_before(rows.slice(first, rows_max), time_ms) or rows_before(rows, time_ms + 1) - first


def ordered(rows: pa.Table) -> pa.Table:
    """Return *rows* in the one order that rows of their kind have; those that are in it are not copied.

    That is by time; trades of one time by id, of which a shorter one counts as the smaller one: most are numbers. Rows
    that are the same by this keep their order.
    """
    times = timestamps_ms(rows)
    steps = np.diff(times)
    if "id" not in rows.schema.names:
        return rows if np.all(steps >= 0) else rows.take(pa.array(np.argsort(times, kind="stable")))
    ids = rows.column("id")
    if np.all(steps >= 0) and _ascend(ids, np.flatnonzero(steps == 0)):
        return rows
    keyed = pa.table({"time": pa.array(times), "length": pc.binary_length(ids), "id": ids})
    return rows.take(pc.sort_indices(keyed, [(name, "ascending") for name in keyed.schema.names]))


def _ascend(ids: pa.ChunkedArray, places: npt.NDArray[np.int64]) -> bool:
    """Tell whether none of the ids in *places* is greater than the one behind it."""
    these, next_ones = ids.take(pa.array(places)), ids.take(pa.array(places + 1))
    lengths, next_lengths = pc.binary_length(these), pc.binary_length(next_ones)
    is_alike_long = pc.and_(pc.equal(lengths, next_lengths), pc.less_equal(these, next_ones))
    return bool(pc.all(pc.or_(pc.less(lengths, next_lengths), is_alike_long), min_count=0).as_py())


def increases(rows: pa.Table) -> bool:
    """Tell whether *rows* are in order and each is of a thing of its own, later than all before it.

    Of trades, that no id comes twice, and none after a greater one, see `ordered`. It costs little of what finding out
    where it is not so does.
    """
    times = timestamps_ms(rows)
    if "id" not in rows.schema.names:
        return bool(np.all(times[1:] > times[:-1]))
    ids = rows.column("id").combine_chunks()
    lengths = pc.binary_length(ids).to_numpy()
    if np.any(times[1:] < times[:-1]) or np.any(lengths[1:] < lengths[:-1]):
        return False
    is_greater = pc.less(ids[:-1], ids[1:]).to_numpy(zero_copy_only=False)
    return bool(np.all(is_greater | (lengths[1:] > lengths[:-1])))


def distinct(times_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return each of *times_ms*, which must ascend, once."""
    is_next = np.ones(len(times_ms), np.bool_)
    np.not_equal(times_ms[1:], times_ms[:-1], out=is_next[1:])
    return times_ms[is_next]


def repeats(rows: pa.Table) -> npt.NDArray[np.bool_]:
    """Tell for each row whether it is of the same thing as the one before it: the same bar, the same trade.

    Args:
        rows: In order, see `ordered`.
    """
    is_repeat = np.diff(timestamps_ms(rows), prepend=np.iinfo(np.int64).min // 2) == 0
    places = np.flatnonzero(is_repeat)
    if "id" in rows.schema.names and len(places):
        ids = rows.column("id")
        is_repeat[places] = pc.equal(ids.take(pa.array(places)), ids.take(pa.array(places - 1))).to_numpy()
    return np.asarray(is_repeat)


def same(rows: pa.Table, others: pa.Table) -> npt.NDArray[np.bool_]:
    """Tell for each row whether it has the same values as the one in the same place of *others*, to the bit."""
    is_same = np.ones(rows.num_rows, bool)
    for field in rows.schema:
        column, other = rows.column(field.name), others.column(field.name)
        if pa.types.is_string(field.type):
            is_same &= pc.equal(column, other).to_numpy()
        elif pa.types.is_list(field.type):
            is_same &= _same_levels(column, other)
        else:
            is_same &= _bits(column) == _bits(other)
    return is_same


def _same_levels(column: pa.ChunkedArray, other: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    counts = pc.list_value_length(column).to_numpy()
    is_same = np.asarray(counts == pc.list_value_length(other).to_numpy())
    alike_long = pa.array(is_same)
    numbers, others = (level_numbers(each.filter(alike_long)).view(np.int64) for each in (column, other))
    rows = np.repeat(np.flatnonzero(is_same), 2 * counts[is_same])  # of each number: a level has two
    is_same[rows[numbers != others]] = False
    return is_same


def differing(fresh: pa.Table, rows: pa.Table) -> pa.Table:
    """Return the rows of those times at which *fresh* has other rows than *rows*: more, fewer, or with other values.

    Both must be in order and unique. A time at which only *rows* has any is none of those.
    """
    rows = _spanned(rows, fresh)
    if rows.num_rows == 0:
        return fresh
    times, fresh_times = timestamps_ms(rows), timestamps_ms(fresh)
    starts = np.flatnonzero(np.diff(fresh_times, prepend=fresh_times[0] - 1))
    counts = np.diff(starts, append=len(fresh_times))  # rows of each time
    firsts, ends = (np.searchsorted(times, fresh_times[starts], side) for side in ("left", "right"))
    is_alike = ends - firsts == counts
    candidates = np.repeat(is_alike, counts)
    if not candidates.any():
        return fresh
    within = np.arange(len(fresh_times)) - np.repeat(starts, counts)
    places = (np.repeat(firsts, counts) + within)[candidates]
    low, high = int(places[0]), int(places[-1]) + 1
    is_same = candidates.copy()
    found = rows.slice(low, high - low)
    if len(places) < high - low:
        found = found.take(pa.array(places - low))
    is_same[candidates] = same(fresh if candidates.all() else fresh.filter(pa.array(candidates)), found)
    return fresh.filter(pa.array(~np.repeat(np.logical_and.reduceat(is_same, starts), counts)))


def count_shared_times(rows: pa.Table, others: pa.Table) -> int:
    """Return of how many times both have a row; both must be in time order."""
    times = timestamps_ms(_spanned(others, rows))
    if len(times) == 0:
        return 0
    asked = distinct(timestamps_ms(rows))
    places = np.minimum(np.searchsorted(times, asked), len(times) - 1)
    return int(np.count_nonzero(times[places] == asked))


def _spanned(rows: pa.Table, others: pa.Table) -> pa.Table:
    """Return the *rows* from the first time of *others* to their last, without copying them."""
    if others.num_rows == 0:
        return rows.slice(0, 0)
    first, last = (others.column("timestamp")[place].value for place in (0, -1))
    return rows.slice(*_stretch(rows, first, last))


def _bits(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    values = np.asarray(column.to_numpy())
    return values.view(np.int64) if values.dtype.kind == "f" else values


def union(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of all *tables*, at least one, in order; of equal times those of the last table that has any.

    Each must be in order and unique. Those that follow each other are not copied.
    """
    if len(tables) == 1:
        return tables[0]
    together = pa.concat_tables(tables)
    times = timestamps_ms(together)
    counts = [table.num_rows for table in tables]
    borders = np.cumsum(counts)[:-1]
    borders = borders[(borders > 0) & (borders < len(times))]
    steps = np.diff(times)
    if np.all(steps >= 0) and np.all(steps[borders - 1] > 0):
        return together
    order = np.argsort(times, kind="stable")
    ascending, table_numbers = times[order], np.repeat(np.arange(len(tables)), counts)[order]
    last_of_time = np.searchsorted(ascending, ascending, side="right") - 1
    return together.take(pa.array(order[table_numbers == table_numbers[last_of_time]]))


def upsert(rows: pa.Table, fresh: pa.Table) -> pa.Table:
    """Return *rows* with *fresh* put in their places; fresh rows replace those of equal time.

    Both must be in order and unique. Only the stretch that *fresh* spans is copied: the rest is shared, so that adding
    page after page to a month costs a page each time.
    """
    if fresh.num_rows == 0:
        return rows
    if rows.num_rows == 0:
        return fresh
    times = timestamps_ms(fresh)
    first, count = _stretch(rows, int(times[0]), int(times[-1]))
    if count:
        inside = rows.slice(first, count)
        fresh = union([inside.filter(pa.array(~np.isin(timestamps_ms(inside), times))), fresh])
    if count == 0 and first in (0, rows.num_rows):
        # As pages come: slicing would make every piece of the others anew.
        return _in_few_pieces(pa.concat_tables([rows, fresh])) if first else pa.concat_tables([fresh, rows])
    parts = (rows.slice(0, first), fresh, rows.slice(first + count))
    return pa.concat_tables([part for part in parts if part.num_rows])  # what is empty is a piece, too


# So many pieces that are about as long as each other, between two of these lengths, are made one.
_PIECES_MAX: Final = 16
_PIECE_ROWS: Final = (0, 8_192, 131_072, 2_097_152)


def _in_few_pieces(rows: pa.Table) -> pa.Table:
    """Return *rows* with the short pieces at their end made longer ones, so that there are never more than some dozens.

    Each row is copied a few times for that. Left as they are, thousands of pieces would be gone through with each one
    that is added.
    """
    lengths = [len(piece) for piece in rows.column("timestamp").chunks]
    for least, limit in pairwise(_PIECE_ROWS):
        short = [*takewhile(partial(gt, limit), reversed(lengths))]
        if sum(length >= least for length in short) >= _PIECES_MAX:
            kept = rows.num_rows - sum(short)
            rows = pa.concat_tables([rows.slice(0, kept), rows.slice(kept).combine_chunks()])
            lengths[-len(short) :] = [sum(short)]
    return rows
