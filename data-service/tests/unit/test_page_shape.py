"""A plugin may be anybody's: what it hands over has the right columns, or it is no answer."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from scripted_client import ScriptedClient, page, source_of
from unit_builders import epoch_ms, minute, minute_bars, minutes, series
from virtual_time import in_virtual_time

from cb_trade_data.errors import ExchangeNonsenseError
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.exchange_source.page_shape import well_shaped
from cb_trade_data.models.market import OHLCV_SCHEMA, TIMESTAMP, TRADES_SCHEMA
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
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


def test_what_is_no_page_is_no_answer():
    with pytest.raises(ExchangeNonsenseError, match=DataCode.WRONG_TYPE):
        well_shaped(None, series())


def test_a_page_with_its_columns_is_handed_on_as_it_is():
    answer = Page(ROWS, 3, is_cut=True)

    assert well_shaped(answer, series()) is answer


def test_columns_in_another_order_and_more_of_them_do_no_harm():
    rows = ROWS.append_column("trades", ROWS.column("volume")).select([*reversed(OHLCV_SCHEMA.names), "trades"])

    answer = Page(rows, 3, is_cut=True, goes_on_at="7")

    assert well_shaped(answer, series()) == Page(ROWS, 3, is_cut=True, goes_on_at="7")


@in_virtual_time
async def test_a_page_that_is_no_answer_is_asked_for_again():
    client = ScriptedClient()
    client.rows = client.rows.drop_columns("volume")
    source = source_of(client)

    with pytest.raises(ExchangeNonsenseError, match="DATA-010"):
        await page(source)

    assert client.calls > 1
    assert source.conditions()["binance"].errors["nonsense"] == client.calls


class BurstingClient(ScriptedClient):
    """Has trades of one millisecond in several answers."""

    def __init__(self, *answers: Page) -> None:
        super().__init__()
        self.answers = answers

    async def fetch_trades(self, series: Series, window: TimeRange, from_id: str | None = None) -> Page:
        await self._call()
        return self.answers[min(int(from_id or 0), len(self.answers) - 1)]


def trades(count: int) -> pa.Table:
    times = pa.array([epoch_ms(minute(1))] * count, pa.int64()).cast(TIMESTAMP)
    columns = [times, [str(number) for number in range(count)], ["buy"] * count, [1.0] * count, [1.0] * count]
    return pa.table(columns, schema=TRADES_SCHEMA)


async def fetched(client: BurstingClient) -> Page | None:
    return await source_of(client).fetch_page(TRADES, lambda: minutes(0, 2), int)


@in_virtual_time
async def test_the_answers_of_a_burst_are_one_page_of_as_many_calls():
    page = await fetched(BurstingClient(Page(trades(2), goes_on_at="1", is_cut=True), Page(trades(1), is_cut=True)))

    assert page is not None
    assert (page.rows.num_rows, page.calls, page.is_cut) == (3, 2, True)


@in_virtual_time
async def test_one_answer_of_a_burst_may_say_of_a_column_that_it_may_lack_numbers_and_another_not():
    lax = pa.table(trades(1).columns, names=TRADES_SCHEMA.names)

    page = await fetched(BurstingClient(Page(trades(2), goes_on_at="1"), Page(lax)))

    assert page is not None
    assert page.rows.num_rows == 3


@in_virtual_time
async def test_a_later_answer_of_a_burst_with_other_columns_is_no_answer_either():
    odd = Page(trades(1).drop_columns("price"))

    with pytest.raises(ExchangeNonsenseError, match="DATA-010"):
        await fetched(BurstingClient(Page(trades(2), goes_on_at="1"), odd))


@in_virtual_time
@pytest.mark.parametrize("rows", [0, 3_000])
async def test_a_burst_that_goes_on_for_ever_is_given_up(rows: int):
    client = BurstingClient(Page(trades(2), goes_on_at="1"), Page(trades(rows), goes_on_at="1"))

    with pytest.raises(ExchangeNonsenseError, match="goes on"):
        await fetched(client)

    assert client.calls <= 3
