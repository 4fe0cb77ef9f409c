"""`/v1/quality`: how good what is stored is, by the day, and what says so; nobody is asked for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiohttp
import numpy as np
import pytest
from service_harness import RunningService, at, ms, running_service, token

from cb_trade_data.storage.layouts import metadata
from cb_trade_simulator.faults import StatusFault
from cb_trade_simulator.faults.events import Restating

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
HOURS = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1h"}
# From 12:40 to 14:00 nothing was traded: the hour from 13:00 was never made.
OUTAGE = at("2023-03-24T13:00"), at("2023-03-24T14:00")

Quality = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def quality(service: RunningService, session: aiohttp.ClientSession) -> Quality:
    """Ask `/v1/quality` about hours of Bitcoin, unless something else is said."""
    return asking(service, session)


def asking(service: RunningService, session: aiohttp.ClientSession) -> Quality:
    headers = {"Authorization": f"Bearer {token(scopes=['data:read'])}"}

    async def ask(**query: Any) -> dict[str, Any]:
        async with session.get(f"{service.http_url}/v1/quality", params=HOURS | query, headers=headers) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return answer

    return ask


def times(start: str, end: str) -> dict[str, int]:
    return {"start_time": ms(at(start)), "end_time": ms(at(end))}


async def test_two_days_that_are_held_are_complete(quality, client):
    await client.history(at("2024-01-01"), at("2024-01-03"), timeframe="1h")

    answer = await quality(**times("2024-01-01", "2024-01-03"))

    flagged = sum(answer["evidence"]["flagged"].values())
    assert {name: answer[name] for name in ("exchange", "symbol", "timeframe", "start_time", "end_time")} == {
        **HOURS,
        **times("2024-01-01", "2024-01-03"),
    }
    scores = answer["scores"]
    assert (scores["completeness"], scores["consistency"], scores["accuracy"]) == (1.0, 1 - flagged / 48, None)
    # Only the past was asked about.
    assert (scores["freshness"], scores["overall"]) == (None, 1 - flagged / 48)
    evidence = answer["evidence"]
    assert (evidence["expected_bars"], evidence["held_bars"], evidence["rows"], evidence["holes"]) == (48, 48, 48, 0)
    assert evidence["newest_end"] == ms(at("2024-01-03"))
    assert evidence["bars_behind"] is None
    # Of the series as it is today, nothing newer is stored, and it is years later.
    today = await quality()
    assert today["evidence"]["bars_behind"] > 5_000
    assert (today["scores"]["freshness"], today["scores"]["overall"], today["scores"]["lowest"]) == (
        0.0,
        0.0,
        "freshness",
    )
    assert (evidence["compared_bars"], evidence["differing_bars"], evidence["compared_with"]) == (0, 0, None)
    assert [(day["start_time"], day["end_time"], day["rows"]) for day in answer["days"]] == [
        (ms(at("2024-01-01")), ms(at("2024-01-02")), 24),
        (ms(at("2024-01-02")), ms(at("2024-01-03")), 24),
    ]
    assert {day["completeness"] for day in answer["days"]} == {1.0}
    assert (answer["truncated"], answer["next"]) == (False, None)
    assert {"gaps", "findings"} & answer.keys() == set(), "they need the rows"
    assert {"low", "high", "close", "volume"} & answer["days"][0].keys() == set()


async def test_details_tell_what_the_rows_of_each_day_are(quality, client, simulator):
    await client.history(at("2024-01-01"), at("2024-01-03"), timeframe="1h")

    answer = await quality(**times("2024-01-01", "2024-01-03"), details="true")

    bars = simulator.candles("BTC/USDT", "1h", at("2024-01-01"), at("2024-01-03"))
    for day, rows in zip(answer["days"], (bars[:24], bars[24:]), strict=True):
        assert (day["low"], day["high"], day["close"]) == (rows["low"].min(), rows["high"].max(), rows["close"][-1])
        assert day["volume"] == pytest.approx(rows["volume"].sum(), rel=1e-12)
    assert answer["gaps"] == []
    assert len(answer["findings"]) == sum(answer["evidence"]["flagged"].values())
    plain = await quality(**times("2024-01-01", "2024-01-03"))
    assert (answer["scores"], answer["evidence"]) == (plain["scores"], plain["evidence"])


async def test_an_outage_is_a_hole_that_is_told_and_nothing_is_missing(quality, client):
    await client.history(at("2023-03-24"), at("2023-03-25"), timeframe="1h")

    answer = await quality(**times("2023-03-24", "2023-03-25"), details="true")

    start_ms, end_ms = map(ms, OUTAGE)
    assert answer["gaps"] == [
        {
            "start_time": start_ms,
            "end_time": end_ms,
            "bars": 1,
            "state": "held",
            "reason": "the exchange has no bars here",
            "code": "DATA-012",
        }
    ]
    [day] = answer["days"]
    assert (day["held_bars"], day["rows"], day["holes"], day["completeness"]) == (24, 23, 1, 1.0)


async def test_what_nobody_asked_for_is_missing_and_told_as_such(quality, client):
    await client.history(at("2024-01-01T12:00"), at("2024-01-02T12:00"), timeframe="1h")

    answer = await quality(**times("2024-01-01", "2024-01-03"), details="true")

    assert [(day["expected_bars"], day["held_bars"], day["completeness"]) for day in answer["days"]] == [
        (24, 12, 0.5)
    ] * 2
    assert [(gap["state"], gap["bars"], gap["reason"]) for gap in answer["gaps"]] == [
        ("unknown", 12, "nobody asked for these bars")
    ] * 2
    assert answer["scores"]["completeness"] == 0.5


async def test_what_the_exchange_failed_to_tell_is_a_gap_with_its_reason(quality, client, simulator):
    simulator.inject(StatusFault(503), times=None)
    await client.history(at("2024-01-01"), at("2024-01-01T12:00"), timeframe="1h")

    answer = await quality(details="true")

    [gap] = answer["gaps"]
    assert (gap["state"], gap["bars"]) == ("failed", 12)
    assert "503" in gap["reason"]
    assert (answer["scores"]["completeness"], answer["scores"]["consistency"]) == (0.0, None)
    assert (answer["evidence"]["newest_end"], answer["scores"]["freshness"]) == (None, None)


async def test_without_times_all_that_is_known_is_told(quality, client):
    """It begins amid a day: what lies before is nobody's fault."""
    await client.history(at("2024-01-01T13:00"), at("2024-01-03T07:00"), timeframe="1h")

    answer = await quality()

    assert (answer["start_time"], answer["end_time"]) == (ms(at("2024-01-01T13:00")), ms(at("2024-01-03T07:00")))
    assert [day["rows"] for day in answer["days"]] == [11, 24, 7]
    assert answer["scores"]["completeness"] == 1.0


async def test_a_part_of_a_day_counts_its_own_rows_only(quality, client):
    await client.history(at("2024-01-01"), at("2024-01-03"), timeframe="1h")

    answer = await quality(**times("2024-01-01T06:00", "2024-01-02T07:00"))

    assert [(day["expected_bars"], day["rows"], day["holes"]) for day in answer["days"]] == [(18, 18, 0), (7, 7, 0)]


async def test_what_lies_before_the_listing_is_not_expected(quality, client, simulator):
    listed_at = simulator.listed_at("BTC/USDT")
    await client.history(at("2017-01-01"), at("2018-01-01"), timeframe="1h")

    answer = await quality(start_time=ms(listed_at) - 3 * DAY_MS, details="true")

    assert answer["scores"]["completeness"] == 1.0
    assert answer["days"][0]["start_time"] == ms(listed_at) // DAY_MS * DAY_MS
    assert answer["gaps"][0]["state"] == "unlisted"
    assert answer["gaps"][0]["end_time"] == ms(listed_at)


async def test_the_newest_closed_bar_is_fresh(quality, client):
    current = await client.ask({"type": "request_current_timestamp", **HOURS})
    end = at("1970-01-01") + timedelta(milliseconds=current["closed_until"])

    await client.history(end - timedelta(hours=8), end - timedelta(hours=4), timeframe="1h")
    before = await quality()
    await client.history(end - timedelta(hours=8), end, timeframe="1h")
    after = await quality()

    behind = before["evidence"]["bars_behind"]
    assert behind in (4, 5), "an hour may end while this runs"
    assert before["scores"]["freshness"] == pytest.approx(1 - behind / 10)
    assert after["evidence"]["bars_behind"] in (0, 1)


@pytest.mark.parametrize(
    ("timeframe", "start", "end", "years"),
    [
        ("1d", "2022-06-01", "2024-03-01", [214, 365, 60]),
        ("1w", "2022-05-30", "2024-03-04", [31, 52, 9]),
        ("1M", "2022-06-01", "2024-03-01", [7, 12, 2]),
    ],
)
async def test_bars_of_a_day_or_longer_are_told_by_the_year(quality, client, timeframe, start, end, years):
    await client.history(at(start), at(end), timeframe=timeframe)

    for details in ("false", "true"):
        answer = await quality(timeframe=timeframe, details=details)

        assert [day["held_bars"] for day in answer["days"]] == years
        assert [day["rows"] for day in answer["days"]] == years
        assert answer["scores"]["completeness"] == 1.0
    assert answer["gaps"] == []


async def test_pages_follow_each_other_and_their_evidence_adds_up(quality, client):
    await client.history(at("2022-12-25"), at("2023-04-10"), timeframe="1h")
    whole = await quality(**times("2022-12-25", "2023-04-10"))
    assert whole["next"] is None

    for details, limit in (("false", 40), ("true", 20), ("true", 1_000)):
        pages, start = [], ms(at("2022-12-25"))
        while start is not None:
            pages.append(await quality(start_time=start, end_time=ms(at("2023-04-10")), limit=limit, details=details))
            start = pages[-1]["next"]

        assert len(pages) == -(-106 // min(limit, 31 if details == "true" else limit))
        assert [day["start_time"] for page in pages for day in page["days"]] == [
            day["start_time"] for day in whole["days"]
        ]
        for name in ("expected_bars", "held_bars", "rows", "holes"):
            assert sum(page["evidence"][name] for page in pages) == whole["evidence"][name]
        for code, count in whole["evidence"]["flagged"].items():
            assert sum(page["evidence"]["flagged"][code] for page in pages) == count


async def test_rows_that_were_stored_without_evidence_are_inspected_when_somebody_asks(quality, client, monkeypatch):
    await client.history(at("2024-01-01"), at("2024-01-03"), timeframe="1h")
    with_evidence = await quality()
    monkeypatch.setattr(metadata, "inspected", lambda stored: None)
    await client.history(at("2024-01-01"), at("2024-01-03"), timeframe="1h", refresh=True)
    await client.history(at("2024-01-03"), at("2024-01-04"), timeframe="1h")
    monkeypatch.undo()

    assert (await quality(end_time=ms(at("2024-01-03"))))["days"] == with_evidence["days"]
    assert [day["rows"] for day in (await quality())["days"]] == [24, 24, 24]


async def test_scores_are_told_without_reading_a_row(quality, client, monkeypatch):
    await client.history(at("2023-01-01"), at("2024-03-01"), timeframe="1h")
    read = []
    monkeypatch.setattr(metadata.ObjectMetadata, "verify", lambda *_: read.append(1))

    await quality()

    assert read == []


async def test_bars_that_longer_ones_are_made_of_tell_how_accurate_these_are(quality, client, simulator):
    for timeframe in ("1m", "15m", "1h"):
        await client.history(at("2024-01-01"), at("2024-01-02"), timeframe=timeframe)

    answer = await quality(**times("2024-01-01", "2024-01-02"), details="true")

    evidence = answer["evidence"]
    assert (evidence["compared_with"], evidence["compared_bars"], evidence["differing_bars"]) == ("15m", 24, 0)
    assert answer["scores"]["accuracy"] == 1.0


async def test_trades_tell_better_than_bars_how_accurate_bars_are(quality, client, simulator):
    start, end = at("2024-03-04"), at("2024-03-05")
    named = {"symbol": "ADA/BTC"}
    await client.history(start, end, kind="trades", timeframe=None, **named)
    restated = (start + timedelta(hours=10), start + timedelta(hours=10, minutes=9))
    made = simulator.candles("ADA/BTC", "1m", *restated)
    simulator.inject(Restating("ADA/BTC", *restated, at("2024-03-06")))
    await client.history(start, end, **named)
    told = simulator.candles("ADA/BTC", "1m", *restated)

    answer = await quality(**named, timeframe="1m", start_time=ms(start), end_time=ms(end), details="true")

    wrong = int(np.sum(made != told))
    evidence = answer["evidence"]
    assert (evidence["compared_with"], evidence["compared_bars"], evidence["differing_bars"]) == ("trades", 1440, wrong)
    assert answer["scores"]["accuracy"] == 1 - wrong / 1440 < 1


async def test_months_are_compared_with_days(quality, client):
    for timeframe in ("1d", "1M"):
        await client.history(at("2023-01-01"), at("2024-01-01"), timeframe=timeframe)

    answer = await quality(timeframe="1M", details="true")

    evidence = answer["evidence"]
    assert (evidence["compared_with"], evidence["compared_bars"], evidence["differing_bars"]) == ("1d", 12, 0)


async def test_nothing_is_told_of_what_nobody_ever_asked_for(quality, client):
    for named in ({}, times("2024-01-01", "2024-03-01"), times("2024-01-01", "2024-03-01") | {"symbol": "NO/SUCH"}):
        answer = await quality(**named, details="true")

        assert (answer["start_time"], answer["end_time"], answer["days"]) == (None, None, [])
        assert set(answer["scores"].values()) == {None}
        assert (answer["gaps"], answer["findings"], answer["next"]) == ([], [], None)


async def test_no_exchange_is_called_also_after_a_restart(client, quality, simulator, tmp_path, session):
    await client.history(at("2024-01-01"), at("2024-01-03"), timeframe="1h")
    query = times("2024-01-01", "2024-01-03") | {"details": "true"}
    before = await quality(**query)
    simulator.calls.reset()

    async with running_service(tmp_path / "data", simulator.base_url) as service:
        after = await asking(service, session)(**query)

    assert simulator.calls.by_endpoint.total() == 0
    assert (after["days"], after["gaps"], after["findings"]) == (before["days"], before["gaps"], before["findings"])
