"""Format `json`: a list with one object per row."""

import pyarrow as pa

from cb_trade_client.errors import ProtocolError
from cb_trade_client.fields import Message, read_objects


class JsonRowsDecoder:
    """Decodes `"data": [{"timestamp": 1704067200000, "open": 42283.58, …}, …]`; timestamps are epoch milliseconds."""

    format = "json"

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema

    def decode(self, chunk: Message) -> pa.RecordBatch:
        """Return the rows as one batch; fields the schema does not know are left out."""
        rows = read_objects(chunk, "data")
        try:
            columns = [_column([row[field.name] for row in rows], field.type) for field in self.schema]
        except KeyError as error:
            raise ProtocolError(f"a row lacks the field {error.args[0]!r}", details={"field": error.args[0]}) from error
        except (ValueError, TypeError, OverflowError) as error:
            raise ProtocolError(f"a row holds a value of the wrong type: {error}") from error
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _column(values: list[object], column_type: pa.DataType) -> pa.Array:
    # Arrow builds timestamps from integers too, but silently accepts text and floats there.
    if pa.types.is_timestamp(column_type):
        return pa.array(values, pa.int64()).cast(column_type)
    return pa.array(values, column_type)
