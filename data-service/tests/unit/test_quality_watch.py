"""Of bars that people ask for, the service knows how good they are, and reads no row for it."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from fake_exchange import Anchoring, FakeExchange
from history_rig import SERIES, HistoryRig
from unit_builders import bars, minute, minute_bars, minutes, span, utc

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.historical.quality_watch import AskedSeries, QualityWatch, WatchedQuality
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality.scores import Scores
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.layouts import metadata
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

NOW = minute(600)
PARTITION = partition_at(SERIES, minute(10))
OTHER = replace(SERIES, symbol="ETH/USDT")


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def rig(tmp_path) -> HistoryRig:
    return HistoryRig(tmp_path, NOW).connect(FakeExchange([]))


@pytest.fixture
def asked() -> AskedSeries:
    asked = AskedSeries()
    asked.note(SERIES)
    return asked


@pytest.fixture
def watch(rig, asked) -> QualityWatch:
    return QualityWatch(rig.storage, rig.source, asked, rig.present)


def known(first: int, end: int, state: State) -> Change:
    rows = minute_bars(range(first, end) if state is State.HELD else [])
    asked_at = None if state is State.HELD else NOW
    return Change(rows, (Segment(minutes(first, end), state, asked_at),))


async def store(rig: HistoryRig, *changes: Change) -> None:
    await rig.storage.commit(StoredPartition.empty(PARTITION), changes)


async def test_what_was_asked_for_and_came_is_complete_and_fresh(watch, rig):
    """Although nobody has asked for it lately: then nobody misses the newest bars."""
    await store(rig, known(10, 20, State.HELD))

    await watch.look()

    quality = watch.figures[SERIES]
    assert quality == WatchedQuality(Scores(1.0, quality.scores.consistency, 1.0, None), 0, 0)
    assert quality.scores.consistency is not None


async def test_what_was_asked_for_and_did_not_come_is_missing(watch, rig):
    await store(
        rig,
        known(10, 12, State.FAILED),
        known(12, 20, State.HELD),
        known(20, 22, State.FAILED),
        known(22, 23, State.EMPTY),
    )

    await watch.look()

    quality = watch.figures[SERIES]
    assert (quality.gap_bars, quality.bars_behind) == (5, 3)
    assert (quality.scores.completeness, quality.scores.freshness) == (8 / 13, 0.7)


async def test_where_the_exchange_answered_that_it_has_nothing_no_bar_is_missing_before_the_newest_one(watch, rig):
    """Nobody asks a quiet market for the same minute until that is certain, and nothing is wrong with it."""
    await store(
        rig,
        known(10, 14, State.EMPTY),
        known(14, 15, State.HELD),
        known(15, 18, State.EMPTY),
        known(18, 19, State.FAILED),
        known(19, 20, State.HELD),
    )

    await watch.look()

    quality = watch.figures[SERIES]
    assert (quality.gap_bars, quality.bars_behind, quality.scores.completeness) == (1, 0, 2 / 3)


async def test_the_newest_bar_may_lie_in_a_later_partition(watch, rig):
    last, first = span("2024-01-31T23:58", "2024-02-01"), span("2024-02-01", "2024-02-01T00:01")
    quiet = Change(minute_bars([]), (Segment(last, State.EMPTY, NOW, 1),))
    traded = Change(bars([first.start]), (Segment(first, State.HELD),))
    for change in (quiet, traded):
        partition = partition_at(SERIES, change.segments[0].range.start)
        await rig.storage.commit(StoredPartition.empty(partition), [change])
    rig.now = utc("2024-02-01T01:00")

    await watch.look()

    assert (watch.figures[SERIES].gap_bars, watch.figures[SERIES].scores.completeness) == (0, 1.0)


async def test_of_a_quiet_market_that_is_polled_as_it_goes_nothing_is_missing(asked, rig):
    rig.connect(FakeExchange(map(minute, range(0, 600, 2)), now=rig.present, anchoring=Anchoring.START))
    for end in range(540, 601, 10):
        rig.now = minute(end)
        await rig.answer(minutes(end - 30, end - 1))
    watch = QualityWatch(rig.storage, rig.source, asked, rig.present)

    await watch.look()

    assert watch.figures[SERIES] == WatchedQuality(Scores(1.0, watch.figures[SERIES].scores.consistency, 1.0), 0, 0)


async def test_what_is_known_is_gone_through_off_the_event_loop(watch, rig, monkeypatch):
    await store(rig, known(10, 20, State.HELD), known(20, 21, State.EMPTY))
    threads: set[threading.Thread] = set()
    within = Coverage.within

    def watched(coverage, wanted):
        threads.add(threading.current_thread())
        return within(coverage, wanted)

    monkeypatch.setattr(Coverage, "within", watched)

    await watch.look()

    assert threads
    assert threading.main_thread() not in threads


async def test_what_nothing_is_held_of_has_no_freshness(watch, rig):
    await store(rig, known(10, 14, State.FAILED))

    await watch.look()

    assert watch.figures[SERIES] == WatchedQuality(Scores(0.0, None, None, None), 4, 4)


async def test_a_series_that_was_not_listed_misses_nothing(watch, rig):
    await store(rig, known(10, 14, State.EMPTY), known(14, 20, State.HELD))
    await rig.storage.commit_facts(SERIES, SeriesFacts("x", minute(14), NOW))

    await watch.look()

    assert (watch.figures[SERIES].gap_bars, watch.figures[SERIES].scores.completeness) == (0, 1.0)


async def test_no_row_is_read(watch, rig, monkeypatch):
    await store(rig, known(10, 20, State.HELD))
    monkeypatch.setattr(rig.storage, "read", None)
    monkeypatch.setattr(metadata.ObjectMetadata, "verify", None)

    await watch.look()

    assert watch.figures[SERIES].scores.completeness == 1.0


async def test_where_no_evidence_lies_with_rows_nothing_is_said_of_them(watch, rig, monkeypatch):
    monkeypatch.setattr(metadata, "inspected", lambda stored: None)
    await store(rig, known(10, 20, State.HELD))

    await watch.look()

    assert watch.figures[SERIES].scores == Scores(1.0, None, 1.0, None)


async def test_what_is_older_than_thirty_days_does_not_count(watch, rig):
    await store(rig, known(10, 20, State.FAILED))
    rig.now = NOW + timedelta(days=31)

    await watch.look()

    assert watch.figures[SERIES] == WatchedQuality(Scores(), 0, 0)


async def test_of_days_those_of_the_year_count(rig):
    days = replace(SERIES, timeframe=Timeframe.parse("1d"))
    asked = AskedSeries()
    asked.note(days)
    change = Change(minute_bars([]), (Segment(days.grid.bar(utc("2024-01-01")), State.FAILED, NOW),))
    await rig.storage.commit(StoredPartition.empty(partition_at(days, NOW)), [change])
    rig.now = utc("2024-12-20")
    watch = QualityWatch(rig.storage, rig.source, asked, rig.present)

    await watch.look()

    assert watch.figures[days].gap_bars == 1


@pytest.mark.parametrize("error", [StorageUnavailableError("here", "broken"), RuntimeError("a defect")])
async def test_a_series_that_cannot_be_read_has_no_figures_and_the_others_have(watch, asked, rig, monkeypatch, error):
    asked.note(OTHER)
    await watch.look()
    assert set(watch.figures) == {SERIES, OTHER}
    outline = rig.storage.outline

    async def troubled(partition):
        if partition.series == SERIES:
            raise error
        return await outline(partition)

    monkeypatch.setattr(rig.storage, "outline", troubled)
    await watch.look()

    assert set(watch.figures) == {OTHER}


async def test_it_ends_with_its_context(watch):
    async with watch.watching():
        pass

    assert watch.figures == {}


def test_of_more_than_two_hundred_series_the_ones_that_were_asked_for_last_are_watched():
    asked = AskedSeries()
    many = [replace(SERIES, symbol=f"C{number}/USDT") for number in range(201)]
    for series in [*many[:200], many[0], many[200]]:
        asked.note(series)

    assert asked.lately() == [*many[2:200], many[0], many[200]]


def test_what_was_asked_for_yesterday_is_not_watched_any_more():
    seconds = Seconds()
    asked = AskedSeries(seconds)
    asked.note(SERIES)
    seconds.now = 3600.0
    asked.note(OTHER)
    seconds.now = 24 * 3600.0 + 1

    assert asked.lately() == [OTHER]


def test_kinds_without_bars_are_not_watched():
    asked = AskedSeries()
    asked.note(Series("fake", "BTC/USDT", Kind.TRADES, None))

    assert asked.lately() == []
