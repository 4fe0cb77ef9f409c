"""Whether a page has the columns that it must have: a plugin may be anybody's."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from cb_trade_data.errors import ExchangeNonsenseError
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.models.market import SCHEMAS
from cb_trade_data.models.series import Series
from cb_trade_data.quality.codes import DataCode


def well_shaped(page: object, series: Series) -> Page:
    """Return *page*, with the columns of its kind and no others, in their order.

    Raises:
        ExchangeNonsenseError: A column is missing (`DATA-010`), is of another type (`DATA-023`), or is of times without
            a zone (`DATA-024`). Asked again, as of any answer that is none.
    """
    schema = SCHEMAS[series.kind]
    if not isinstance(page, Page):
        raise ExchangeNonsenseError(series.exchange, f"{DataCode.WRONG_TYPE}: no page, but {type(page).__name__}")
    if isinstance(page.rows, pa.Table) and page.rows.schema.equals(schema) and not _lacks_texts(page.rows):
        return page
    if (flaw := _flaw(page.rows, schema)) is not None:
        code, reason = flaw
        raise ExchangeNonsenseError(series.exchange, f"{code}: {reason}")
    return replace(page, rows=page.rows.select(schema.names))


def _flaw(rows: object, schema: pa.Schema) -> tuple[DataCode, str] | None:
    if not isinstance(rows, pa.Table):
        return DataCode.WRONG_TYPE, f"a page of {type(rows).__name__}, not of columns"
    for field in schema:
        if rows.schema.names.count(field.name) != 1:
            return DataCode.COLUMN_MISSING, f"a page without {field.name!r}, or with several"
        found = rows.schema.field(field.name).type
        if pa.types.is_timestamp(found) and found.tz is None:
            return DataCode.NO_ZONE, f"a page with times without a zone, in {field.name!r}"
        if found != field.type:
            return DataCode.WRONG_TYPE, f"a page with {field.name!r} of type {found}, not {field.type}"
    if _lacks_texts(rows):
        return DataCode.WRONG_TYPE, "a page with a text that is null; a missing one is empty"
    return None


def _lacks_texts(rows: pa.Table) -> bool:
    return any(pa.types.is_string(column.type) and column.null_count > 0 for column in rows.columns)
