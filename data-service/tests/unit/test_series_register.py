from __future__ import annotations

import pytest
from fake_exchange import FakeExchange
from unit_builders import minute, minutes, series

from cb_trade_data.errors import StorageUnavailableError, UnknownSymbolError
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.series_facts import SeriesFacts

HAD = series("BTC/USDT", exchange="fake")
GONE = series("LUNA/USDT", exchange="fake")
OF_THE_GONE = SeriesFacts("LUNAUSDT", minute(0), minute(1))


class DeafStorage(LocalFileStorage):
    """The real storage, which cannot be read while it is deaf."""

    is_deaf = False

    async def read_facts(self, series):
        if self.is_deaf:
            raise StorageUnavailableError("_series.json", "Input/output error")
        return await super().read_facts(series)


@pytest.fixture
def storage(tmp_path) -> DeafStorage:
    return DeafStorage(tmp_path, ParquetLayout())


@pytest.fixture
def register(storage) -> SeriesRegister:
    registry = PluginRegistry()
    exchange = FakeExchange([minute(0)])
    registry.register(exchange.facts, lambda: exchange)
    return SeriesRegister(StorageManagerImpl(storage), DataSourceConnectorImpl(registry))


@pytest.mark.parametrize("verb", ["facts", "look_up_listing"])
async def test_a_symbol_the_exchange_forgot_is_not_called_unknown_while_storage_may_know_it(storage, register, verb):
    """`unknown_symbol` is final: whoever is told so does not come back."""
    await storage.write_facts(GONE, OF_THE_GONE)
    storage.is_deaf = True

    with pytest.raises(StorageUnavailableError, match="Input/output error"):
        await (register.facts(GONE) if verb == "facts" else register.look_up_listing(GONE, minute(5)))

    storage.is_deaf = False
    assert (await register.facts(GONE)).market_id == "LUNAUSDT"


async def test_a_symbol_that_neither_storage_nor_the_exchange_knows_is_unknown(register):
    with pytest.raises(UnknownSymbolError):
        await register.facts(GONE)


async def test_a_symbol_the_exchange_has_needs_no_storage(storage, register):
    storage.is_deaf = True

    assert (await register.facts(HAD)).market_id == "BTCUSDT"


async def test_what_is_stored_is_answered_where_a_due_look_at_the_listing_meets_storage_that_cannot_be_read(
    storage, register
):
    storage.is_deaf = True

    assert await register.recheck(GONE, OF_THE_GONE, minutes(-5, 5), minute(5), force=True) == OF_THE_GONE
