"""A token that is limited to some exchanges tells nothing about the others, whatever is stored of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from service_harness import RunningService, at, historical, ms, running_service, token

LIMITED = token(exchanges=["kraken"])
DAY = (at("2024-01-01"), at("2024-01-02"))


@pytest.fixture
async def service(simulator, tmp_path) -> AsyncIterator[RunningService]:
    """A service with a day of Binance in storage."""
    async with running_service(tmp_path / "data", {"binance": simulator.base_url, "kraken": simulator.base_url}) as one:
        async with one.client() as client:
            await client.history(*DAY)
        yield one


@pytest.mark.parametrize("exchange", ["binance", "no such exchange"])
@pytest.mark.parametrize("kind", ["request_historical", "plan_historical", "request_current_timestamp"])
async def test_a_question_about_another_exchange_is_forbidden_before_anything_is_looked_up(service, kind, exchange):
    message = historical(*DAY, type=kind, exchange=exchange)
    if kind == "request_current_timestamp":
        del message["start_time"], message["end_time"]
    async with service.client(LIMITED) as client:
        refusal = await client.ask(message)

    assert (refusal["code"], refusal["details"]) == ("forbidden", {"exchange": exchange})


@pytest.mark.parametrize("exchanges", [["binance"], ["kraken", "binance"]])
async def test_a_question_about_its_own_exchange_is_answered(service, exchanges):
    async with service.client(token(exchanges=exchanges)) as client:
        assert (await client.history(*DAY)).last["rows"] == 1440


async def ask(service: RunningService, bearer: str, path: str) -> tuple[int, dict]:
    headers = {"Authorization": f"Bearer {bearer}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{service.http_url}/v1/{path}") as response,
    ):
        return response.status, await response.json()


@pytest.mark.parametrize(
    "path",
    [
        "series?exchange=binance",
        f"coverage?exchange=binance&symbol=BTC/USDT&start_time={ms(DAY[0])}",
        f"comparison?exchange=binance&symbol=BTC/USDT&start_time={ms(DAY[0])}&end_time={ms(DAY[1])}",
        f"quality?exchange=binance&symbol=BTC/USDT&start_time={ms(DAY[0])}",
    ],
)
async def test_v1_tells_nothing_about_another_exchange(service, path):
    status, refusal = await ask(service, LIMITED, path)

    assert (status, refusal["code"], refusal["details"]) == (403, "forbidden", {"exchange": "binance"})


async def test_lists_leave_the_others_out(service):
    assert [each["name"] for each in (await ask(service, LIMITED, "exchanges"))[1]["exchanges"]] == ["kraken"]
    assert (await ask(service, LIMITED, "series"))[1] == {"series": [], "next": None}

    allowed = token(exchanges=["binance"])
    assert [each["exchange"] for each in (await ask(service, allowed, "series"))[1]["series"]] == ["binance"]
