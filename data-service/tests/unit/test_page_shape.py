"""A plugin may be anybody's: what it hands over has the right columns, or it is no answer."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from scripted_client import ScriptedClient, page, source_of
from unit_builders import minute_bars, series
from virtual_time import in_virtual_time

from cb_trade_data.errors import ExchangeNonsenseError
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.exchange_source.page_shape import well_shaped
from cb_trade_data.models.market import OHLCV_SCHEMA, TRADES_SCHEMA
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.quality.codes import DataCode

ROWS = minute_bars(range(3))
TRADES = Series("binance", "BTC/USDT", Kind.TRADES, None)


def replaced(name: str, kind: pa.DataType) -> pa.Table:
    place = ROWS.schema.get_field_index(name)
    return ROWS.set_column(place, name, ROWS.column(name).cast(kind, safe=False))


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (ROWS.drop_columns("volume"), DataCode.COLUMN_MISSING),
        (ROWS.drop_columns("timestamp"), DataCode.COLUMN_MISSING),
        (ROWS.append_column("close", ROWS.column("close")), DataCode.COLUMN_MISSING),
        (pa.table({}), DataCode.COLUMN_MISSING),
        (replaced("close", pa.string()), DataCode.WRONG_TYPE),
        (replaced("close", pa.float32()), DataCode.WRONG_TYPE),
        (replaced("timestamp", pa.int64()), DataCode.WRONG_TYPE),
        (replaced("timestamp", pa.timestamp("us", "UTC")), DataCode.WRONG_TYPE),
        ([[0, 1.0, 1.0, 1.0, 1.0, 1.0]], DataCode.WRONG_TYPE),
        (None, DataCode.WRONG_TYPE),
        (replaced("timestamp", pa.timestamp("ms")), DataCode.NO_ZONE),
    ],
)
def test_a_page_with_other_columns_is_no_answer(rows: Any, code: DataCode):
    with pytest.raises(ExchangeNonsenseError, match=code):
        well_shaped(Page(rows), series())


def test_a_text_that_is_null_makes_a_page_no_answer():
    columns = [ROWS.column("timestamp").slice(0, 1), ["1"], pa.array([None], pa.string()), [1.0], [1.0]]

    with pytest.raises(ExchangeNonsenseError, match=DataCode.WRONG_TYPE):
        well_shaped(Page(pa.table(columns, schema=TRADES_SCHEMA)), TRADES)


def test_a_page_with_its_columns_is_handed_on_as_it_is():
    answer = Page(ROWS, 3, is_cut=True)

    assert well_shaped(answer, series()) is answer


def test_columns_in_another_order_and_more_of_them_do_no_harm():
    rows = ROWS.append_column("trades", ROWS.column("volume")).select([*reversed(OHLCV_SCHEMA.names), "trades"])

    assert well_shaped(Page(rows, 3, is_cut=True), series()) == Page(ROWS, 3, is_cut=True)


@in_virtual_time
async def test_a_page_that_is_no_answer_is_asked_for_again():
    client = ScriptedClient()
    client.rows = client.rows.drop_columns("volume")
    source = source_of(client)

    with pytest.raises(ExchangeNonsenseError, match="DATA-010"):
        await page(source)

    assert client.calls > 1
    assert source.conditions()["binance"].errors["nonsense"] == client.calls
