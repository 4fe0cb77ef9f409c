"""Requests that leave the exchange open, over real sockets: CCXT's own classes in front of simulated venues."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from itertools import count

import aiohttp
import numpy as np
import pytest
from pydantic import SecretStr
from service_harness import Client, RunningService, at, eventually, historical, ms, running_service, token
from structlog.testing import capture_logs

from cb_trade_client import DataClient
from cb_trade_data.config import AuthSettings, Settings
from cb_trade_data.errors import InvalidSettingsError
from cb_trade_data.main import create_app
from cb_trade_simulator import ExchangeSimulator, RunningClock
from cb_trade_simulator.faults import StatusFault
from cb_trade_simulator.markets.catalogue import SPOT

BTC, ETH = SPOT[0], SPOT[1]
NOW = at("2024-03-10T12:00:30")
DAY = (at("2024-03-01"), at("2024-03-02"))  # further back than the newest 720 minutes
HOURS = (at("2024-03-10T06:00"), at("2024-03-10T09:00"))
LIST = ["kraken", "coinbase"]


class Venues:
    """Kraken, which keeps its newest bars only, and Coinbase; each with markets of its own."""

    def __init__(self, simulators: Mapping[str, ExchangeSimulator]) -> None:
        self.simulators = simulators

    @property
    def addresses(self) -> dict[str, str]:
        return {name: each.base_url for name, each in self.simulators.items()}

    @property
    def calls(self) -> dict[str, int]:
        return {name: each.calls.total for name, each in self.simulators.items()}

    def __getitem__(self, name: str) -> ExchangeSimulator:
        return self.simulators[name]

    def reset(self) -> None:
        for each in self.simulators.values():
            each.calls.reset()


@asynccontextmanager
async def simulated(kraken=(BTC, ETH), coinbase=(BTC, ETH)) -> AsyncIterator[Venues]:
    markets = {"kraken": kraken, "coinbase": coinbase}
    async with AsyncExitStack() as stack:
        yield Venues(
            {
                name: await stack.enter_async_context(
                    ExchangeSimulator(name, seed=seed, clock=RunningClock(NOW), markets=each).serve()
                )
                for seed, (name, each) in enumerate(markets.items())
            }
        )


@pytest.fixture
async def venues() -> AsyncIterator[Venues]:
    async with simulated() as running:
        yield running


@pytest.fixture
async def service(venues, tmp_path) -> AsyncIterator[RunningService]:
    async with running_service(tmp_path / "data", venues.addresses) as running:
        yield running


@pytest.fixture
async def client(service) -> AsyncIterator[Client]:
    async with service.client() as connected:
        yield connected


def assert_all_of(reply, venues: Venues, exchange: str, span) -> None:
    assert reply.start["exchange"] == exchange
    np.testing.assert_array_equal(reply.rows, venues[exchange].candles("BTC/USDT", "1m", *span))


async def test_the_first_of_the_list_answers_all_of_it(client, venues):
    assert_all_of(await client.history(*HOURS, exchange=LIST), venues, "kraken", HOURS)
    assert venues.calls["coinbase"] == 0


async def test_the_preference_of_the_settings_comes_first(venues, tmp_path):
    async with (
        running_service(tmp_path, venues.addresses, preference=["coinbase"]) as service,
        service.client() as client,
    ):
        assert_all_of(await client.history(*HOURS, exchange=LIST), venues, "coinbase", HOURS)
    assert venues.calls["kraken"] == 0


async def test_a_range_that_the_first_does_not_serve_any_more_is_answered_by_the_next(client, venues):
    reply = await client.history(*DAY, exchange=LIST)

    assert_all_of(reply, venues, "coinbase", DAY)
    assert reply.last["gaps"] == []


async def test_if_no_other_can_the_one_that_keeps_its_newest_answers_with_its_gaps(tmp_path):
    async with (
        simulated(coinbase=[ETH]) as venues,
        running_service(tmp_path, venues.addresses) as service,
        service.client() as client,
    ):
        reply = await client.history(DAY[0], HOURS[1], exchange=LIST)

    assert reply.start["exchange"] == "kraken"
    assert [gap["state"] for gap in reply.last["gaps"]] == ["unavailable"]


async def test_a_symbol_that_only_the_second_has_comes_from_there(tmp_path):
    async with (
        simulated(kraken=[ETH]) as venues,
        running_service(tmp_path, venues.addresses) as service,
        service.client() as client,
    ):
        assert_all_of(await client.history(*HOURS, exchange=LIST), venues, "coinbase", HOURS)


async def test_of_any_the_first_by_name_answers_and_the_next_is_not_asked(service, venues):
    async with service.client(token(exchanges=LIST)) as client:
        assert_all_of(await client.history(*HOURS, exchange="any"), venues, "coinbase", HOURS)
    assert venues.calls["kraken"] == 0


async def test_an_exchange_that_is_down_is_passed_over_and_comes_back(client, venues):
    venues["kraken"].inject(StatusFault(503), endpoint="*", times=None)
    during = await client.history(*HOURS, exchange=LIST)
    venues["kraken"].clear_faults()

    assert_all_of(during, venues, "coinbase", HOURS)
    for minutes in count(1):  # until the probe is due; what storage holds would be answered from there
        later = (HOURS[0], HOURS[1] + timedelta(minutes=minutes))
        if (back := await client.history(*later, exchange=LIST)).start["exchange"] == "kraken":
            break
    assert_all_of(back, venues, "kraken", later)


async def test_an_exchange_that_fails_once_it_was_chosen_ends_as_gaps_and_is_not_replaced(client, venues):
    await client.ask({"type": "request_current_timestamp", "exchange": "kraken", "symbol": "BTC/USDT"})
    venues["kraken"].inject(StatusFault(503), endpoint="*", times=None)

    reply = await client.history(*HOURS, exchange=LIST)

    assert reply.start["exchange"] == "kraken"
    assert {gap["state"] for gap in reply.last["gaps"]} == {"failed"}
    assert venues.calls["coinbase"] == 0


@pytest.mark.parametrize(("exchange", "kraken_has"), [(LIST, [BTC]), (LIST, [ETH]), ("any", [BTC])])
async def test_what_was_answered_once_touches_no_network_after_a_restart(tmp_path, exchange, kraken_has):
    """Not even that of an exchange which comes first, has not got the symbol, and is down."""
    async with simulated(kraken=kraken_has) as venues:
        bearer = token(exchanges=LIST)
        async with running_service(tmp_path, venues.addresses) as service, service.client(bearer) as client:
            cold = await client.history(*HOURS, exchange=exchange)
        venues.reset()
        for each in venues.simulators.values():
            each.inject(StatusFault(503), endpoint="*", times=None)
        async with running_service(tmp_path, venues.addresses) as service, service.client(bearer) as client:
            warm = await client.history(*HOURS, exchange=exchange)

        assert venues.calls == {"kraken": 0, "coinbase": 0}
        assert warm.start["exchange"] == cold.start["exchange"]
        np.testing.assert_array_equal(warm.rows, cold.rows)


async def test_a_limited_token_gets_what_it_may_have_and_no_word_about_the_others(service, venues):
    async with service.client(token(exchanges=["coinbase"])) as client:
        assert_all_of(await client.history(*HOURS, exchange=LIST), venues, "coinbase", HOURS)
        assert_all_of(await client.history(*HOURS, exchange="any"), venues, "coinbase", HOURS)
        refusal = (await client.history(*HOURS, exchange=LIST, symbol="NO/SUCH")).last
        other = (await client.history(*HOURS, exchange=["kraken", "okx"])).last

    assert venues.calls["kraken"] == 0
    assert (refusal["code"], refusal["details"]["exchanges"]) == ("unknown_symbol", ["coinbase"])
    assert "kraken" not in str(refusal)
    assert (other["code"], other["details"]) == ("forbidden", {"exchanges": ["kraken", "okx"]})


async def test_plans_and_newest_bars_name_the_exchange_they_are_of(client):
    await client.history(*HOURS, exchange=LIST)
    plan = historical(*HOURS, exchange=LIST, type="plan_historical")
    newest = {"type": "request_current_timestamp", "exchange": LIST, "symbol": "BTC/USDT", "timeframe": "1m"}

    planned, latest = await client.ask(plan), await client.ask(newest)

    assert (planned["exchange"], planned["rows_in_storage"], planned["exchange_calls"]) == ("kraken", 180, 0)
    assert (latest["exchange"], latest["timestamp"]) == ("kraken", ms(HOURS[1] - timedelta(minutes=1)))


@pytest.mark.parametrize(
    ("exchange", "fields", "code"),
    [
        (LIST, {"symbol": "NO/SUCH"}, "unknown_symbol"),
        (LIST, {"timeframe": "7m"}, "unknown_timeframe"),
        (LIST, {"kind": "funding_rate", "timeframe": None}, "unsupported_kind"),
        (["kraken", "coinbse"], {}, "unknown_exchange"),
        ([], {}, "invalid_value"),
        (["kraken", "kraken"], {}, "invalid_value"),
        (["any", "kraken"], {}, "invalid_value"),
    ],
)
async def test_bad_choices_have_clear_codes_and_leave_the_connection_usable(client, venues, exchange, fields, code):
    refusal = (await client.history(*HOURS, exchange=exchange, **fields)).last

    assert refusal["code"] == code
    assert_all_of(await client.history(*HOURS, exchange=LIST), venues, "kraken", HOURS)


async def test_where_one_could_not_be_asked_it_may_be_tried_again(tmp_path):
    async with (
        simulated(coinbase=[ETH]) as venues,
        running_service(tmp_path, venues.addresses) as service,
        service.client() as client,
    ):
        venues["kraken"].inject(StatusFault(503), endpoint="*", times=None)
        refusal = (await client.history(*HOURS, exchange=LIST)).last

    assert (refusal["code"], refusal["retryable"]) == ("exchange_unavailable", True)
    assert [(each["exchange"], each["code"]) for each in refusal["details"]["problems"]] == [
        ("kraken", "exchange_unavailable"),
        ("coinbase", "unknown_symbol"),
    ]


async def test_a_choice_is_told_to_the_log_and_counted(service, venues):
    with capture_logs() as logs:
        async with service.client() as client:
            await client.history(*DAY, exchange=LIST)
            await client.history(*HOURS, exchange="kraken")
        await eventually(lambda: sum(entry["event"] == "request" for entry in logs) == 2)
    async with aiohttp.ClientSession() as session, session.get(f"{service.http_url}/metrics") as response:
        figures = await response.text()

    chosen, named = (entry for entry in logs if entry["event"] == "request")
    assert chosen["series"] == "coinbase BTC/USDT ohlcv 1m"
    assert (chosen["chosen_from"], chosen["passed_over"]) == (LIST, {"kraken": "unavailable"})
    assert "chosen_from" not in named
    assert 'cb_trade_exchange_choices_total{exchange="coinbase"} 1.0' in figures
    assert 'cb_trade_exchange_choices_total{exchange="kraken"}' not in figures


async def test_the_sdk_goes_on_with_the_exchange_that_began_after_its_connection_was_lost(venues, tmp_path):
    """Although the service, which is another one by then, would choose another."""
    venues["kraken"].hold("klines")
    async with running_service(tmp_path, venues.addresses) as service:
        sdk = DataClient(service.socket_url, token=token())
        stream = await sdk.stream(LIST, "BTC/USDT", "1m", *HOURS).__aenter__()
    venues["kraken"].release("klines")

    async with running_service(tmp_path, venues.addresses, port=service.port, preference=["coinbase"]), sdk:
        rows = sum([batch.num_rows async for batch in stream])

    assert (stream.started.exchange, rows, stream.completed.resumes) == ("kraken", 180, 1)
    assert venues.calls["coinbase"] == 0


def test_a_preference_for_what_nobody_knows_stops_the_start():
    auth = AuthSettings(secret=SecretStr("a secret for tests, long enough to pass"))

    with pytest.raises(InvalidSettingsError, match="CB_TRADE_EXCHANGE_PREFERENCE: no exchange is called 'karken' here"):
        create_app(Settings(_env_file=None, auth=auth, exchange_preference=("kraken", "karken")))
