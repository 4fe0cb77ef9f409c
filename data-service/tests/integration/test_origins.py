"""Which pages browsers may connect from."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import websockets
from service_harness import SECRET, RunningService, running_service, token

from cb_trade_data.config import AuthSettings

OURS, OTHER = "https://console.example.com", "https://elsewhere.example"


@pytest.fixture
def serving(tmp_path) -> Any:
    def serving(origins: Sequence[str] | None) -> AbstractAsyncContextManager[RunningService]:
        auth = AuthSettings(secret=SECRET, allowed_origins=origins)
        return running_service(tmp_path / "data", {}, auth=auth)

    return serving


@pytest.fixture
async def service(serving) -> AsyncIterator[RunningService]:
    async with serving([OURS]) as running:
        yield running


def connect(service: RunningService, origin: str | None, bearer: str | None = None, **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {bearer or token()}"}
    return websockets.connect(service.socket_url, origin=origin, additional_headers=headers, **options)


@pytest.mark.parametrize("origin", [OURS, None])
async def test_the_pages_that_are_listed_and_programs_may_connect(service, origin):
    async with connect(service, origin) as connection:
        await connection.ping()


@pytest.mark.parametrize(
    "origin",
    [
        OTHER,
        "null",
        "",
        OURS + "/",
        OURS.upper(),
        OURS + ".evil.example",
        OURS + ":8443",
        "http" + OURS[5:],
        "x" * 5000,
    ],
)
async def test_pages_from_elsewhere_may_not_and_no_token_is_looked_at(service, origin):
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(service, origin, "nonsense")

    assert refused.value.response.status_code == 403
    refusal = json.loads(refused.value.response.body)
    assert refusal["code"] == "forbidden"
    assert "ALLOWED_ORIGINS" in refusal["message"]


async def test_a_browser_from_elsewhere_is_told_by_a_close_code(service):
    offered = ["cb-trade.v1", f"cb-trade.bearer.{token()}"]

    async with websockets.connect(service.socket_url, origin=OTHER, subprotocols=offered) as connection:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await connection.recv()

    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4403, "forbidden")


async def test_an_empty_list_keeps_all_pages_out_and_no_program(serving):
    async with serving([]) as service:
        with pytest.raises(websockets.InvalidStatus):
            await connect(service, OURS)
        async with connect(service, None) as connection:
            await connection.ping()


async def test_without_a_list_a_page_from_anywhere_may_connect(serving):
    async with serving(None) as service, connect(service, OTHER) as connection:
        await connection.ping()
