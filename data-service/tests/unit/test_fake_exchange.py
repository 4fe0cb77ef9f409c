from __future__ import annotations

import pytest
from exchange_contract import MINUTE, ExchangeClientContract, Subject
from fake_exchange import SYMBOL, Anchoring, FakeExchange
from service_harness import at

from cb_trade_data.models.instants import to_ms


@pytest.mark.parametrize("anchoring", [each for each in Anchoring if each is not Anchoring.NEWEST_ONLY], ids=str)
class TestFakeExchange(ExchangeClientContract):
    """An exchange of which only the newest bars can be had cannot keep what the contract says of bars after listing."""

    @pytest.fixture
    def subject(self, anchoring) -> Subject:
        listed_at = at("2024-01-01T06:00")
        opens = [MINUTE.advance(listed_at, bar) for bar in range(3_000)]
        return Subject(
            FakeExchange(opens, anchoring=anchoring),
            SYMBOL,
            "BTCUSDT",
            listed_at,
            lambda wanted: [to_ms(open_time) for open_time in opens if open_time in wanted],
        )
