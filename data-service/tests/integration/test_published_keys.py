"""Keys that an identity provider publishes: when they are read, how long they are kept, and what may go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from key_server import KeyServer, jwk
from service_harness import eventually
from signing_keys import rsa_key
from structlog.testing import capture_logs

from cb_trade_data.auth.published_keys import (
    FRESH_SECS,
    KEPT_SECS,
    READ_AGAIN_SECS,
    TRY_AGAIN_SECS,
    PublishedKeys,
)
from cb_trade_data.errors import AuthenticationUnavailableError
from cb_trade_data.models.component import Component

OLD, NEW = jwk(rsa_key("first"), "old"), jwk(rsa_key("second"), "new")


class Clock:
    """A clock that a test sets."""

    secs = 1_000_000.0

    def now_secs(self) -> float:
        return self.secs


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def provider() -> AsyncIterator[KeyServer]:
    async with KeyServer(OLD).running() as running:
        yield running


@pytest.fixture
async def keys(provider: KeyServer, clock: Clock) -> AsyncIterator[PublishedKeys]:
    keys = PublishedKeys(provider.url, ("RS256",), clock.now_secs)
    yield keys
    await keys.close()


async def is_unavailable(keys: PublishedKeys) -> float:
    """Return in how many seconds to come back, as the refusal says."""
    with pytest.raises(AuthenticationUnavailableError) as caught:
        await keys.find("old")
    return caught.value.retry_after.total_seconds()


# --- When they are read ----------------------------------------------------------------------------------------------


async def test_keys_are_read_when_the_first_token_comes_and_kept_for_an_hour(keys, provider, clock):
    assert provider.calls == []

    for _ in range(3):
        assert (await keys.find("old")).material == rsa_key("first").public_key()
        clock.secs += FRESH_SECS / 2
    assert provider.calls == ["/keys"]

    await keys.find("old")
    assert len(provider.calls) == 2


async def test_a_key_that_is_gone_is_refused_within_the_hour(keys, provider, clock):
    await keys.find("old")
    provider.keys = [NEW]
    clock.secs += FRESH_SECS + 1

    assert await keys.find("old") is None


async def test_a_new_key_is_found_as_soon_as_a_token_names_it(keys, provider, clock):
    await keys.find("old")
    provider.keys = [OLD, NEW]
    clock.secs += READ_AGAIN_SECS

    assert (await keys.find("new")).material == rsa_key("second").public_key()
    assert await keys.find("old") is not None
    assert len(provider.calls) == 2


async def test_names_that_there_are_not_make_us_ask_every_half_minute_at_most(keys, provider, clock):
    await keys.find("old")
    for number in range(100):
        assert await keys.find(f"../../{number}") is None
        clock.secs += READ_AGAIN_SECS / 50 - 0.001

    assert provider.calls == ["/keys"] * 2


async def test_all_who_come_at_once_wait_for_one_reading(keys, provider):
    provider.may_answer.clear()
    waiting = [asyncio.create_task(keys.find("old")) for _ in range(50)]
    await eventually(lambda: bool(provider.calls))
    provider.may_answer.set()

    assert all(key is not None for key in await asyncio.gather(*waiting))
    assert provider.calls == ["/keys"]


async def test_who_leaves_takes_no_reading_away_from_the_others(keys, provider):
    """Else whoever names a key that there is not, and leaves, could put a new key off for ever."""
    provider.may_answer.clear()
    leaving = asyncio.create_task(keys.find("old"))
    await eventually(lambda: bool(provider.calls))
    staying = asyncio.create_task(keys.find("old"))
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    provider.may_answer.set()

    assert await staying is not None
    assert provider.calls == ["/keys"]


async def test_closing_ends_a_reading(keys, provider):
    provider.may_answer.clear()
    waiting = asyncio.create_task(keys.find("old"))
    await eventually(lambda: bool(provider.calls))

    await keys.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting


# --- When they cannot be read ----------------------------------------------------------------------------------------


async def test_keys_are_kept_for_a_day_while_they_cannot_be_read_again(keys, provider, clock):
    await keys.find("old")
    provider.status = 500

    clock.secs += KEPT_SECS
    assert await keys.find("old") is not None
    assert (keys.condition().status, keys.condition().problem) == (
        "degraded",
        "the keys could not be read again: HTTP 500",
    )

    clock.secs += 1
    assert await is_unavailable(keys) > 0


async def test_without_keys_nobody_can_be_told_and_a_few_seconds_later_it_is_tried_again(keys, provider, clock):
    provider.status = 503

    assert keys.condition() == Component("unused")
    assert await is_unavailable(keys) == TRY_AGAIN_SECS
    clock.secs += TRY_AGAIN_SECS - 1
    assert await is_unavailable(keys) == 1
    assert provider.calls == ["/keys"]
    assert keys.condition().problem == "there are no keys: HTTP 503"

    provider.status = 200
    clock.secs += 1
    assert await keys.find("old") is not None
    assert (keys.condition().status, keys.condition().problem) == ("ok", None)
    assert keys.condition().last_error.reason == "HTTP 503"  # stays on record


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "no JSON object with a list of keys"),
        (b'{"keys":[]}', "no key for RS256"),
        (b" " * (256 * 1024 + 1), "more than 262144 bytes"),
        (b'{"keys":[' + b"{}," * 100 + b"{}]}", "101 keys"),
    ],
)
async def test_an_answer_that_is_no_key_set_replaces_none(keys, provider, clock, body, said):
    await keys.find("old")
    provider.body = body
    clock.secs += FRESH_SECS + 1

    assert await keys.find("old") is not None
    assert said in keys.condition().last_error.reason


async def test_a_provider_that_sends_us_elsewhere_is_not_followed(keys, provider):
    async with AsyncExitStack() as stack:
        attacker = await stack.enter_async_context(KeyServer(OLD).running())
        provider.status, provider.headers = 302, {"Location": attacker.url}

        await is_unavailable(keys)

        assert attacker.calls == []
        assert keys.condition().last_error.reason == "HTTP 302"


async def test_a_provider_that_nobody_answers_for_is_told_without_its_host_and_the_log_has_the_rest(clock):
    """Whoever asks how the service is doing need not know where its keys come from."""
    async with KeyServer().running() as provider:
        url = provider.url
    keys = PublishedKeys(url, ("RS256",), clock.now_secs)

    with capture_logs() as logs:
        await is_unavailable(keys)

    assert keys.condition().problem == "there are no keys: ClientConnectorError"
    assert keys.condition().last_error.reason == "ClientConnectorError"
    [line] = [entry for entry in logs if entry["event"] == "auth.keys_unreadable"]
    assert "127.0.0.1" in line["error"]


async def test_a_provider_that_takes_too_long_is_given_up(monkeypatch, keys, provider):
    monkeypatch.setattr("cb_trade_data.auth.published_keys._ANSWER_TIMEOUT_SECS", 0.01)
    provider.may_answer.clear()

    await is_unavailable(keys)

    assert keys.condition().last_error.reason == "no answer within 0.01 s"


async def test_a_small_answer_that_would_become_a_large_one_is_not_unpacked(keys, provider):
    provider.headers = {"Content-Encoding": "gzip"}
    provider.body = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xed\xc1\x01\r\x00\x00\x00\xc2\xa0\xf7Om\x0e7\xa0\x00\x00"

    await is_unavailable(keys)

    assert "no JSON" in keys.condition().last_error.reason
