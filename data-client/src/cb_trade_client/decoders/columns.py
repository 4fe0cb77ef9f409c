"""Columns out of the values that JSON has."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from cb_trade_client.errors import ProtocolError


def batch_of(values: Mapping[str, Sequence[object]], schema: pa.Schema) -> pa.RecordBatch:
    """Return one batch; names the schema does not know are left out, times are epoch milliseconds.

    Raises:
        ProtocolError: A value is of the wrong type, or the columns differ in length.
    """
    try:
        columns = [_column(values[field.name], field.type) for field in schema]
        return pa.RecordBatch.from_arrays(columns, schema=schema)
    except (ValueError, TypeError, OverflowError) as error:
        raise ProtocolError(f"a row holds a value of the wrong type: {error}") from error


def _column(values: Sequence[object], column_type: pa.DataType) -> pa.Array:
    # Arrow builds timestamps from integers too, but silently accepts text and floats there.
    if pa.types.is_timestamp(column_type):
        return pa.array(values, pa.int64()).cast(column_type)
    return pa.array(values, column_type)
