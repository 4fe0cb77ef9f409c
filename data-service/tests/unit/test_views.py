"""Derived and filled answers on a real storage: what they are made of, and that nothing of them stays behind."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from answers import tables
from fake_exchange import SYMBOL, FakeExchange, rows_at
from history_rig import HistoryRig
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, quick, span, utc

from cb_trade_data.errors import UnknownTimeframeError
from cb_trade_data.historical import answer as historical_answer
from cb_trade_data.historical.interfaces import IAnswer
from cb_trade_data.historical.rebuilding import folded
from cb_trade_data.historical.receipt import Receipt
from cb_trade_data.historical.views import derived, filling, newest_bar
from cb_trade_data.historical.views.known_time import known_time
from cb_trade_data.models.digest import AnswerDigest
from cb_trade_data.models.market import OHLCV_SCHEMA, slice_range
from cb_trade_data.models.messages import Fill
from cb_trade_data.models.partition import partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State, joined
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

NOW = utc("2024-06-01T12:00")
HOUR = timedelta(hours=1)
#: A Friday; the year's end lies behind a weekend.
START = utc("2023-12-29")
FILLS = (Fill.PREVIOUS_CLOSE, Fill.NULL)


class Stored:
    """A series of hours as storage has it, of which nothing need be asked.

    Attributes:
        rig: The service around it; its exchange has nothing, and remembers what it was asked for.
        segments: What is known of all its time.
    """

    def __init__(self, rig: HistoryRig, segments: list[Segment], root: Path) -> None:
        self.rig = rig
        self.segments = segments
        self.root = root

    def series(self, timeframe: str, *, derive: bool = False) -> Series:
        return self.rig.manager.series_or_derived("fake", SYMBOL, "ohlcv", timeframe, derive=derive)

    async def ask(
        self, wanted: TimeRange, timeframe: str = "1h", fill: Fill = Fill.NONE, *, derive: bool = False
    ) -> tuple[pa.Table, Receipt]:
        answer = await self.rig.manager.open(self.series(timeframe, derive=derive), wanted, refresh=False, fill=fill)
        return await rows_of(answer), answer.receipt

    def content(self) -> dict[str, str]:
        """Return every stored byte."""
        files = (path for path in self.root.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
        return {str(path.relative_to(self.root)): sha256(path.read_bytes()).hexdigest() for path in files}


async def rows_of(answer: IAnswer) -> pa.Table:
    parts = [rows async for rows in tables(answer)]
    assert all(rows.num_rows for rows in parts)  # each is sent
    return pa.concat_tables(parts).combine_chunks() if parts else OHLCV_SCHEMA.empty_table()


def segment(start: datetime, end: datetime, state: State, asks: int = 1) -> Segment:
    """Return what is known of a stretch, as of this very moment, so that nobody is asked again.

    *asks*: how often there was an empty answer; after the third one it is empty for good.
    """
    match state:
        case State.FAILED:
            return Segment(TimeRange(start, end), state, NOW, reason="HTTP 503")
        case State.EMPTY:
            return Segment(TimeRange(start, end), state, NOW, asks=asks)
    return Segment(TimeRange(start, end), state)


@asynccontextmanager
async def stored(
    segments: list[Segment],
    opens: Iterable[datetime],
    *,
    listed_at: datetime | None = None,
    delisted_at: datetime | None = None,
    timeframes: tuple[str, ...] = ("1h",),
    late: Iterable[datetime] | None = None,
) -> AsyncIterator[Stored]:
    """Store hours: *segments*, and a bar for each of *opens* that lies in a stretch that is held.

    *late*: where the exchange has bars when it is asked again; None where it must not be.
    """
    with TemporaryDirectory() as folder:
        root = Path(folder)
        rig = HistoryRig(root, NOW).connect(FakeExchange(late or [], timeframes=timeframes, now=lambda: NOW))
        series = rig.manager.series("fake", SYMBOL, "ohlcv", timeframes[0])
        rows = rows_at(open_ for open_ in sorted(opens) if any(open_ in each.range for each in held(segments)))
        for partition, part in partitions_of(series, TimeRange(segments[0].range.start, segments[-1].range.end)):
            shared = [(each, each.range.intersect(part)) for each in segments]
            news = [replace(each, range=range_) for each, range_ in shared if range_ is not None]
            change = Change(slice_range(rows, part), tuple(news))
            await rig.storage.commit(StoredPartition.empty(partition), [change])
        facts = SeriesFacts("BTCUSDT", listed_at, NOW, delisted_at, NOW)
        await rig.storage.commit_facts(series, facts)
        yield Stored(rig, segments, root)
        assert late is not None or rig.exchange.windows == []


def held(segments: list[Segment]) -> list[Segment]:
    return [each for each in segments if each.state is State.HELD]


def hours(first: int, end: int, state: State = State.HELD, asks: int = 1) -> Segment:
    return segment(START + first * HOUR, START + end * HOUR, state, asks)


known_hours = st.lists(
    st.tuples(
        st.sampled_from([(State.HELD, 0), (State.HELD, 0), (State.EMPTY, 1), (State.EMPTY, 3), (State.FAILED, 0)]),
        st.integers(1, 60),
    ),
    min_size=1,
    max_size=6,
)
places = st.sets(st.integers(0, 300), max_size=200)
timeframes = st.sampled_from(["2h", "4h", "1d", "1w", "1M"])


def segments_of(parts: list[tuple[tuple[State, int], int]]) -> list[Segment]:
    cursor, segments = 0, []
    for (state, asks), length in parts:
        segments.append(hours(cursor, cursor + length, state, asks))
        cursor += length
    return segments


# --- Derived ---------------------------------------------------------------------------------------------------------


@quick(60)
@given(known_hours, places, timeframes, st.integers(0, 200), st.integers(0, 500))
def test_a_derived_answer_is_the_whole_answer_below_put_together_less_what_is_not_settled(
    parts, opens, timeframe, first, length
):
    # Weeks and months reach beyond what is known: the rest is listed later, or not any more.
    segments = segments_of(parts)
    listed_at, delisted_at = segments[0].range.start, segments[-1].range.end
    wanted = TimeRange(START + (first - 100) * HOUR, START + (first - 99 + length) * HOUR)
    grid = Timeframe.parse(timeframe)

    async def compare() -> None:
        async with stored(
            segments, (START + place * HOUR for place in opens), listed_at=listed_at, delisted_at=delisted_at
        ) as store:
            made, receipt = await store.ask(wanted, timeframe)
            bars = grid.snap(wanted)
            if bars is None:
                assert (made.num_rows, receipt.coverage, receipt.gaps) == (0, [], [])
                return
            below, below_receipt = await store.ask(bars)

            gaps = [gap.range for gap in below_receipt.gaps if not gap.is_final]
            whole = [
                bar
                for bar in map(grid.bar, opens_in(grid, bars))
                if not any(gap.start < bar.end and bar.start < gap.end for gap in gaps)
            ]
            expected = [folded(slice_range(below, bar).combine_chunks(), grid) for bar in whole]
            assert_same_rows(made, pa.concat_tables([OHLCV_SCHEMA.empty_table(), *expected]).combine_chunks())
            digest = AnswerDigest(store.series(timeframe))
            digest.add(bars, made)
            assert receipt.digest == digest.text()
            told = {open_ for gap in receipt.gaps if not gap.is_final for open_ in opens_in(grid, gap.range)}
            assert told == set(opens_in(grid, bars)) - {bar.start for bar in whole}
            silent = {open_ for gap in receipt.gaps if gap.is_final for open_ in opens_in(grid, gap.range)}
            assert silent <= {bar.start for bar, made in zip(whole, expected, strict=True) if made.num_rows == 0}
            assert receipt.rows_from_storage == below.num_rows
            assert receipt.exchange_calls == 0

    asyncio.run(compare())


def opens_in(grid: Timeframe, wanted: TimeRange) -> list[datetime]:
    opens, open_ = [], grid.ceil(wanted.start)
    while open_ < wanted.end:
        opens.append(open_)
        open_ = grid.advance(open_, 1)
    return opens


async def test_many_rows_and_segments_are_put_together_in_a_thread_to_the_same_bars(monkeypatch):
    wanted = TimeRange(START, START + 100 * HOUR)
    segments = [hours(0, 30), hours(30, 31, State.FAILED), hours(31, 100)]
    async with stored(segments, (START + place * HOUR for place in range(100))) as store:
        on_the_loop, receipt = await store.ask(wanted, "4h")
        monkeypatch.setattr(derived, "_ROWS_ON_THE_LOOP_MAX", 10)
        monkeypatch.setattr(historical_answer, "SEGMENTS_ON_THE_LOOP_MAX", 0)
        in_a_thread, thread_receipt = await store.ask(wanted, "4h")

    assert_same_rows(in_a_thread, on_the_loop)
    assert replace(thread_receipt, readings=()) == replace(receipt, readings=())


async def test_an_hour_that_failed_leaves_a_gap_of_four_hours_and_no_bar():
    segments = [hours(0, 5), hours(5, 6, State.FAILED), hours(6, 12)]
    async with stored(segments, (START + number * HOUR for number in range(12))) as store:
        rows, receipt = await store.ask(TimeRange(START, START + 12 * HOUR), "4h")

    assert rows["timestamp"].to_pylist() == [START, START + 8 * HOUR]
    assert receipt.gaps == [segment(START + 4 * HOUR, START + 8 * HOUR, State.FAILED)]
    assert [(each.range, each.state) for each in receipt.coverage] == [
        (TimeRange(START, START + 4 * HOUR), State.HELD),
        (TimeRange(START + 4 * HOUR, START + 8 * HOUR), State.FAILED),
        (TimeRange(START + 8 * HOUR, START + 12 * HOUR), State.HELD),
    ]


async def test_an_hour_that_is_empty_for_good_keeps_no_bar_away():
    """Nobody asks about it again; an exchange that leaves quiet hours out would have no such bars, ever."""
    segments = [hours(0, 5), hours(5, 6, State.EMPTY, 3), hours(6, 8), hours(8, 9, State.EMPTY, 2), hours(9, 12)]
    async with stored(segments, (START + number * HOUR for number in range(12))) as store:
        rows, receipt = await store.ask(TimeRange(START, START + 12 * HOUR), "4h")
        newest = (await store.rig.manager.current(store.series("4h"))).timestamp

    assert rows["timestamp"].to_pylist() == [START, START + 4 * HOUR]
    assert rows["volume"][1].as_py() == sum(rows_at(START + place * HOUR for place in (4, 6, 7))["volume"].to_pylist())
    assert receipt.gaps == [hours(8, 12, State.EMPTY, 2)]
    assert newest == START + 4 * HOUR


async def test_a_bar_that_is_empty_for_good_altogether_is_not_there_and_is_told_as_its_parts_are():
    silence = hours(4, 8, State.EMPTY, 3)
    async with stored([hours(0, 4), silence, hours(8, 12)], (START + number * HOUR for number in range(12))) as store:
        rows, receipt = await store.ask(TimeRange(START, START + 12 * HOUR), "4h")
        filled, filled_receipt = await store.ask(TimeRange(START, START + 12 * HOUR), "4h", Fill.PREVIOUS_CLOSE)

    assert rows["timestamp"].to_pylist() == [START, START + 8 * HOUR]
    assert receipt.gaps == filled_receipt.gaps == [silence]
    assert filled["synthetic"].to_pylist() == [False, True, False]


async def test_a_week_in_which_a_market_began_and_one_in_which_it_ended_are_whole():
    listed_at, delisted_at = utc("2023-12-30T07:00"), utc("2024-01-10T05:00")
    known = [segment(listed_at, delisted_at, State.HELD)]
    opens = [listed_at + number * HOUR for number in range(24 * 11)]
    async with stored(known, opens, listed_at=listed_at, delisted_at=delisted_at) as store:
        rows, receipt = await store.ask(span("2023-12-18", "2024-01-22"), "1w")

    assert rows["timestamp"].to_pylist() == [utc("2023-12-25"), utc("2024-01-01"), utc("2024-01-08")]
    assert rows["open"][0].as_py() == rows_at([listed_at])["open"][0].as_py()
    assert rows["close"][-1].as_py() == rows_at([delisted_at - HOUR])["close"][0].as_py()
    assert receipt.gaps == []
    assert [(each.range, each.state) for each in receipt.coverage] == [
        (span("2023-12-18", "2023-12-25"), State.UNLISTED),
        (span("2023-12-25", "2024-01-15"), State.HELD),
        (span("2024-01-15", "2024-01-22"), State.DELISTED),
    ]


@pytest.mark.parametrize(("now", "is_closed"), [("2024-02-01T00:00:01.999", False), ("2024-02-01T00:00:02", True)])
async def test_a_month_is_closed_when_all_of_it_is_and_its_margin(tmp_path, now, is_closed):
    opens = [utc("2023-12-01") + timedelta(days=day) for day in range(90)]
    rig = HistoryRig(tmp_path, utc(now) + timedelta(seconds=1))
    rig.connect(FakeExchange(opens, timeframes=["1d"], now=rig.present))  # whose own clock is a second behind
    series = rig.manager.series_or_derived("fake", SYMBOL, "ohlcv", "1M")

    answer = await rig.manager.open(series, span("2023-12-01", "2024-04-01"), refresh=False)
    rows = await rows_of(answer)

    closed = ["2023-12-01", "2024-01-01"] if is_closed else ["2023-12-01"]
    assert [f"{row['timestamp']:%Y-%m-%d}" for row in rows.to_pylist()] == closed
    assert answer.end == utc("2024-02-01" if is_closed else "2024-01-01")
    assert answer.estimated_rows == len(closed)


async def test_what_comes_from_the_exchange_is_kept_as_what_it_is_and_the_same_is_told_the_second_time(tmp_path):
    opens = [START + number * HOUR for number in range(24 * 40) if number % 7]
    rig = HistoryRig(tmp_path, NOW).connect(FakeExchange(opens, 100, timeframes=["1h"], now=lambda: NOW))
    series = rig.manager.series_or_derived("fake", SYMBOL, "ohlcv", "4h")
    wanted = TimeRange(START, START + 24 * 40 * HOUR)

    answers = []
    for _ in range(2):
        answer = await rig.manager.open(series, wanted, refresh=False)
        answers.append((await rows_of(answer), answer.receipt))

    (cold, first), (warm, second) = answers
    assert_same_rows(warm, cold)
    assert cold.num_rows == 240
    assert first.digest == second.digest
    assert (first.exchange_calls, second.exchange_calls) == (10, 0)
    assert (first.rows_from_exchange, second.rows_from_storage) == (len(opens), len(opens))
    assert [str(stored) for stored in await rig.storage.list_series()] == ["fake BTC/USDT ohlcv 1h"]


@pytest.mark.parametrize(
    ("has", "timeframe", "derive", "source"),
    [
        (("1m", "5m", "1h", "6h", "1d"), "4h", False, "1h"),
        (("1m", "5m", "1h", "6h", "1d"), "1w", False, "1d"),
        (("1m", "5m", "1h", "6h", "1d"), "1M", False, "1d"),
        (("1m", "5m", "1h", "6h", "1d"), "45m", False, "5m"),
        (("1m", "5m", "1h", "6h", "1d"), "1h", True, "5m"),
        (("1m", "5m", "1h", "6h", "1d"), "1h", False, None),
        (("1m", "1d", "3d", "1w"), "1w", True, "1d"),
        (("1m", "1w", "1M"), "1M", True, "1m"),
        (("1d", "1w", "1M"), "3M", False, "1M"),
    ],
)
async def test_bars_are_made_of_the_longest_that_fit(tmp_path, has, timeframe, derive, source):
    rig = HistoryRig(tmp_path, NOW).connect(FakeExchange([], timeframes=has))

    series = rig.manager.series_or_derived("fake", SYMBOL, "ohlcv", timeframe, derive=derive)

    assert (str(series.timeframe), series.derived_from) == (timeframe, source and Timeframe.parse(source))


@pytest.mark.parametrize(
    ("timeframe", "derive"),
    [
        *((name, False) for name in ("7m", "30s", "2w", "3d", "5M", "24h", "60m", "x")),
        ("1m", True),
        ("7m", True),
    ],
)
async def test_what_cannot_be_made_is_unknown_and_what_can_be_is_told(tmp_path, timeframe, derive):
    rig = HistoryRig(tmp_path, NOW).connect(FakeExchange([], timeframes=["1m", "1h"]))

    with pytest.raises(UnknownTimeframeError) as refusal:
        rig.manager.series_or_derived("fake", SYMBOL, "ohlcv", timeframe, derive=derive)

    assert refusal.value.details["known"] == ["1m", "1h"]
    assert {"5m", "15m", "4h", "1d", "1w", "1M", "3M"} <= set(refusal.value.details["derivable"])
    assert not {"1m", "1h", "7m", "30s", "2w"} & set(refusal.value.details["derivable"])


@pytest.mark.parametrize(
    ("timeframe", "derive", "told"),
    [
        ("1m", True, "fake has '1m' bars, but they are not made here of shorter ones; ask without derive"),
        ("3d", True, "fake has '3d' bars, but they are not made here of shorter ones; ask without derive"),
        ("60m", False, "fake has no '60m' bars; bars of that length are called '1h'"),
        ("24h", True, "fake has no '24h' bars; bars of that length are called '1d'"),
        ("7d", False, "fake has no '7d' bars, and none are made here; derivable in the details lists those that are;"),
        ("7m", False, "fake has no '7m' bars, and none are made here; derivable in the details lists those that are;"),
    ],
)
async def test_what_is_told_of_bars_that_cannot_be_had_is_so(tmp_path, timeframe, derive, told):
    """Seven days are not counted from a Monday."""
    rig = HistoryRig(tmp_path, NOW).connect(FakeExchange([], timeframes=["1m", "1h", "3d"]))

    with pytest.raises(UnknownTimeframeError) as refusal:
        rig.manager.series_or_derived("fake", SYMBOL, "ohlcv", timeframe, derive=derive)

    assert str(refusal.value).startswith(told)


async def test_a_plan_counts_what_the_answer_would_be_made_of(tmp_path):
    opens = [START + number * HOUR for number in range(48)]
    rig = HistoryRig(tmp_path, NOW).connect(FakeExchange(opens, 10, timeframes=["1h"], now=lambda: NOW))
    series = rig.manager.series_or_derived("fake", SYMBOL, "ohlcv", "4h")
    await rig.answer(TimeRange(START, START + 8 * HOUR), series=series.source)

    plan = await rig.manager.plan(series, TimeRange(START - HOUR, START + 21 * HOUR), refresh=False)

    assert plan.rows_in_storage == 8
    assert plan.missing == (TimeRange(START + 8 * HOUR, START + 24 * HOUR),)
    assert plan.exchange_calls == 2


@pytest.mark.parametrize(
    ("segments", "newest"),
    [
        ([hours(0, 8)], START + 4 * HOUR),
        ([hours(0, 11)], START + 4 * HOUR),
        ([hours(0, 5), hours(5, 6, State.FAILED), hours(6, 11)], START),
        ([hours(0, 3)], None),
        ([hours(0, 24 * 3 + 2)], utc("2023-12-31T20:00")),
        ([hours(0, 24 * 4)], utc("2024-01-01T20:00")),
    ],
)
async def test_the_newest_derived_bar_is_the_newest_one_that_is_whole(segments, newest):
    async with stored(segments, (START + number * HOUR for number in range(100))) as store:
        current = await store.rig.manager.current(store.series("4h"))

    assert current.timestamp == newest
    assert current.closed_until == utc("2024-06-01T08:00")


@pytest.mark.parametrize("traded", [range(40), range(100, 120)], ids=["in the old year", "in the new year"])
async def test_the_newest_week_may_lie_in_two_partitions(traded):
    """Hours are stored by the year."""
    week = span("2024-12-30", "2025-01-06")
    known = [segment(week.start, week.end + 30 * HOUR, State.HELD)]
    async with stored(known, [week.start + number * HOUR for number in traded]) as store:
        assert (await store.rig.manager.current(store.series("1w"))).timestamp == week.start


@pytest.mark.parametrize("on_the_loop_max", [0, 1_024])
async def test_the_close_before_is_looked_for_over_all_that_is_known(monkeypatch, on_the_loop_max):
    monkeypatch.setattr("cb_trade_data.historical.views.known_time.SEGMENTS_ON_THE_LOOP_MAX", on_the_loop_max)
    segments = [hours(0, 3, State.FAILED), hours(3, 10), hours(10, 12, State.EMPTY), hours(12, 20)]
    async with stored(segments, [START + 4 * HOUR]) as store:
        rows, _ = await store.ask(TimeRange(START + 14 * HOUR, START + 16 * HOUR), fill=Fill.PREVIOUS_CLOSE)

    assert rows["synthetic"].to_pylist() == [True, True]


@pytest.mark.parametrize("traded", [utc("2024-01-01"), utc("2024-02-05"), utc("2024-03-31T23:59")])
async def test_the_newest_quarter_may_lie_in_three_partitions(traded):
    """Minutes are stored by the month."""
    quarter = span("2024-01-01", "2024-04-01")
    known = [segment(quarter.start, quarter.end + 30 * HOUR, State.HELD)]
    async with stored(known, [traded], timeframes=("1m",)) as store:
        assert (await store.rig.manager.current(store.series("3M"))).timestamp == quarter.start


async def test_a_quarter_of_which_a_month_is_not_stored_is_not_the_newest():
    before, last = span("2023-10-01", "2024-01-01"), span("2024-01-01", "2024-04-01")
    known = [
        segment(before.start, utc("2024-02-01"), State.HELD),
        segment(utc("2024-02-01"), utc("2024-03-01"), State.FAILED),
        segment(utc("2024-03-01"), last.end, State.HELD),
    ]
    async with stored(known, [before.start, last.start], timeframes=("1m",)) as store:
        assert (await store.rig.manager.current(store.series("3M"))).timestamp == before.start


@pytest.mark.parametrize(
    ("timeframe", "source", "listed_at", "end", "first"),
    [
        ("4h", "1h", "2024-02-01T02:00", "2024-02-01T04:00", "2024-02-01"),
        ("1w", "1m", "2024-02-01", "2024-02-05", "2024-01-29"),
        ("1w", "1h", "2024-01-02", "2024-01-08", "2024-01-01"),
        ("1w", "1h", "2022-01-01", "2022-01-03", "2021-12-27"),
        ("3M", "1m", "2024-02-15", "2024-04-01", "2024-01-01"),
    ],
)
async def test_the_newest_bar_may_be_the_one_in_which_a_market_began(timeframe, source, listed_at, end, first):
    """It opens before the listing, and before all that is stored."""
    began = utc(listed_at)
    async with stored([segment(began, utc(end), State.HELD)], [began], listed_at=began, timeframes=(source,)) as store:
        assert (await store.rig.manager.current(store.series(timeframe))).timestamp == utc(first)


@quick(60)
@given(known_hours, places, timeframes, st.integers(1, 4))
def test_the_newest_bar_is_the_last_one_of_the_answer_to_all_of_the_time(parts, opens, timeframe, segments_at_once):
    segments = segments_of(parts)
    listed_at, delisted_at = segments[0].range.start, segments[-1].range.end

    async def compare() -> None:
        async with stored(
            segments, (START + place * HOUR for place in opens), listed_at=listed_at, delisted_at=delisted_at
        ) as store:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(newest_bar, "_SEGMENTS_AT_ONCE", segments_at_once)
                current = await store.rig.manager.current(store.series(timeframe))
            rows, _ = await store.ask(span("2023-11-01", "2024-03-01"), timeframe)

            assert current.timestamp == (rows["timestamp"][-1].as_py() if rows.num_rows else None)

    asyncio.run(compare())


async def test_for_the_newest_bar_only_the_last_of_many_segments_are_looked_at(monkeypatch):
    """Of minutes of a quiet market there may be tens of thousands in a month."""
    looked_at = []

    async def noted(storage: IStorageManager, series: Series, wanted: TimeRange) -> list[Segment]:
        looked_at.append(wanted)
        return await known_time(storage, series, wanted)

    monkeypatch.setattr(newest_bar, "known_time", noted)
    monkeypatch.setattr(newest_bar, "_SEGMENTS_AT_ONCE", 8)
    segments = [hours(place, place + 1, State.EMPTY if place % 8 == 7 else State.HELD) for place in range(400)]
    async with stored(list(joined(segments)), [START + place * HOUR for place in range(400)]) as store:
        current = await store.rig.manager.current(store.series("4h"))

    assert current.timestamp == START + 392 * HOUR
    (only,) = looked_at
    assert only.start >= START + 360 * HOUR


# --- Filled ----------------------------------------------------------------------------------------------------------


@quick(60)
@given(
    known_hours,
    places,
    st.sampled_from(["1h", "2h", "4h", "1w"]),
    st.sampled_from(FILLS),
    st.integers(-20, 100),
    st.integers(1, 300),
)
def test_a_fill_changes_no_real_row_no_digest_nothing_that_is_told_of_time_and_no_stored_byte(
    parts, opens, timeframe, fill, first, length
):
    segments = segments_of(parts)
    wanted = TimeRange(START + first * HOUR, START + (first + length) * HOUR)
    ends = {"listed_at": segments[0].range.start, "delisted_at": segments[-1].range.end}

    async def compare() -> None:
        async with stored(segments, (START + place * HOUR for place in opens), **ends) as store:
            before = store.content()
            plain, plain_receipt = await store.ask(wanted, timeframe)
            filled, receipt = await store.ask(wanted, timeframe, fill)

            if filled.num_rows:
                real = filled.filter(pc.invert(filled["synthetic"])).drop(["synthetic"]).cast(OHLCV_SCHEMA)
                assert_same_rows(real.combine_chunks(), plain)
                assert filled.num_rows - plain.num_rows == receipt.synthetic_rows
            else:
                assert (plain.num_rows, receipt.synthetic_rows) == (0, 0)
            for name in ("digest", "coverage", "gaps", "is_truncated", "rows_from_storage", "exchange_calls"):
                assert getattr(receipt, name) == getattr(plain_receipt, name), name
            assert plain_receipt.synthetic_rows is None
            assert store.content() == before

    asyncio.run(compare())


@quick(100)
@given(
    known_hours,
    places,
    st.sampled_from(["1h", "2h", "4h", "1w"]),
    st.sampled_from(Fill),
    st.integers(-20, 100),
    st.integers(1, 300),
    st.data(),
)
def test_a_part_of_a_range_has_the_same_rows_as_the_whole_so_that_whoever_goes_on_gets_the_same_rest(
    parts, opens, timeframe, fill, first, length, data
):
    segments = segments_of(parts)
    wanted = TimeRange(START + first * HOUR, START + (first + length) * HOUR)
    ends = {"listed_at": segments[0].range.start, "delisted_at": segments[-1].range.end}
    bars = opens_in(Timeframe.parse(timeframe), wanted)
    if not bars:
        return
    start = data.draw(st.sampled_from(bars))

    async def compare() -> None:
        async with stored(segments, (START + place * HOUR for place in opens), **ends) as store:
            whole, _ = await store.ask(wanted, timeframe, fill)
            rest, _ = await store.ask(TimeRange(start, wanted.end), timeframe, fill)

            assert rest.to_pylist() == [row for row in whole.to_pylist() if row["timestamp"] >= start]

    asyncio.run(compare())


@quick(100)
@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(1, 20)), min_size=1, max_size=4),
    st.sampled_from([0, 2, 8 * 24]),
    st.sets(st.integers(0, 60), max_size=6),
    st.sampled_from(["1h", "4h"]),
    st.integers(4, 40),
    st.integers(4, 40),
)
def test_no_close_is_used_across_a_time_that_is_due_to_be_asked_again(
    parts, age_hours, opens, timeframe, start, length
):
    """Whoever asks for that time gets what came late, so that another close would be the wrong one."""
    asked_at = NOW - age_hours * HOUR
    empty = [((State.EMPTY, asks), length_hours) for asks, length_hours in parts]
    segments = segments_of([((State.HELD, 0), 4), *empty])
    segments = [replace(each, asked_at=asked_at) if each.asks else each for each in segments]
    times = [START + place * HOUR for place in sorted({0, *opens})]
    end = START + (start + length) * HOUR
    ends = {"listed_at": segments[0].range.start, "delisted_at": segments[-1].range.end}

    async def compare() -> None:
        async with stored(segments, times, late=times, **ends) as store:
            rest, _ = await store.ask(TimeRange(START + start * HOUR, end), timeframe, Fill.PREVIOUS_CLOSE)
            whole, _ = await store.ask(TimeRange(START, end), timeframe, Fill.PREVIOUS_CLOSE)
            again, _ = await store.ask(TimeRange(START + start * HOUR, end), timeframe, Fill.PREVIOUS_CLOSE)

            expected = [row for row in whole.to_pylist() if row["timestamp"] >= START + start * HOUR]
            assert again.to_pylist() == expected
            missing = len(expected) - rest.num_rows
            assert rest.to_pylist() == expected[missing:]
            assert all(row["synthetic"] for row in expected[:missing])

    asyncio.run(compare())


async def test_a_minute_that_came_late_is_not_passed_over_for_the_close_before_it(tmp_path):
    """Its time is not asked for here, but whoever asks for it gets another close."""
    minute, start = timedelta(minutes=1), utc("2024-03-01T10:00")
    rig = HistoryRig(tmp_path, start + 8 * minute + timedelta(seconds=5))
    rig.connect(FakeExchange([start], timeframes=("1m",), now=rig.present))
    await rig.answer(TimeRange(start, start + 8 * minute))
    rig.exchange.opens += [start + 5 * minute, start + 20 * minute]
    series = rig.manager.series("fake", SYMBOL, "ohlcv", "1m")

    for now, synthetic in ((start + 30 * minute, 4), (start + 5 * HOUR, 0)):
        rig.now = now
        wanted = TimeRange(start + 8 * minute, start + 12 * minute)
        answer = await rig.manager.open(series, wanted, refresh=False, fill=Fill.PREVIOUS_CLOSE)
        await rows_of(answer)
        assert answer.receipt.synthetic_rows == synthetic


async def test_no_close_is_used_of_a_derived_bar_of_which_a_part_is_missing():
    """Nor does the answer to all of the time use it, which has no such bar."""
    async with stored([hours(0, 1, State.FAILED), hours(1, 16)], [START + 2 * HOUR]) as store:
        whole, _ = await store.ask(TimeRange(START, START + 16 * HOUR), "4h", Fill.PREVIOUS_CLOSE)
        rest, _ = await store.ask(TimeRange(START + 8 * HOUR, START + 16 * HOUR), "4h", Fill.PREVIOUS_CLOSE)

    assert (whole.num_rows, rest.num_rows) == (0, 0)


@pytest.mark.parametrize("fill", FILLS)
async def test_through_silence_rows_come_as_it_becomes_known_however_long_it_lasts(tmp_path, fill):
    asked_before_second_page = []
    for days in (2, 20):
        minute, start = timedelta(minutes=1), utc("2024-04-01")
        rig = HistoryRig(tmp_path / str(days), NOW)
        rig.connect(FakeExchange([start, utc("2024-05-30")], 300, timeframes=("1m",), now=rig.present))
        series = rig.manager.series("fake", SYMBOL, "ohlcv", "1m")
        wanted = TimeRange(start, start + days * 1440 * minute)
        answer = await rig.manager.open(series, wanted, refresh=False, fill=fill)
        told = [(table.num_rows, len(rig.exchange.windows)) async for table in tables(answer)]
        asked_before_second_page.append(told[1][1])
        assert sum(rows for rows, _ in told) == days * 1440
        assert answer.receipt.synthetic_rows == days * 1440 - 1
        assert len(rig.exchange.windows) == math.ceil(days * 1440 / 300)

    short, long = asked_before_second_page
    assert short == long < 9


async def test_a_derived_bar_comes_when_all_of_it_is_known_and_not_with_the_next_one(tmp_path):
    start = utc("2024-04-01")
    rig = HistoryRig(tmp_path, NOW)
    rig.connect(FakeExchange([start], 300, timeframes=("1m",), now=rig.present))
    await rig.answer(TimeRange(start, start + HOUR), series=rig.manager.series("fake", SYMBOL, "ohlcv", "1m"))
    series = rig.manager.series_or_derived("fake", SYMBOL, "ohlcv", "10m")

    answer = await rig.manager.open(series, TimeRange(start, start + 24 * 20 * HOUR), refresh=False)
    asked_before = [len(rig.exchange.windows) async for _ in tables(answer)]

    assert len(asked_before) == 1
    assert asked_before[0] < len(rig.exchange.windows)


@pytest.mark.parametrize("fill", FILLS)
async def test_what_is_held_and_empty_by_turns_is_filled_altogether_and_at_once(fill, monkeypatch):
    """Also in a thread, where there are so many turns that they take long."""
    segments = [hours(place, place + 4, State.EMPTY if place % 8 else State.HELD) for place in range(0, 400, 4)]
    wanted = TimeRange(START, START + 400 * HOUR)
    made = []
    async with stored(segments, [START + place * HOUR for place in range(0, 400, 8)]) as store:
        for parts_on_the_loop_max in (1_000, 0):
            monkeypatch.setattr(filling, "_PARTS_ON_THE_LOOP_MAX", parts_on_the_loop_max)
            answer = await store.rig.manager.open(store.series("2h"), wanted, refresh=False, fill=fill)
            made.append([rows async for rows in tables(answer)])
            assert answer.receipt.synthetic_rows == 50

    at_once, in_a_thread = made
    assert len(at_once) == 2  # a table for each of the two years that are stored
    assert sum(rows.num_rows for rows in at_once) == 100
    assert all(rows.equals(other) for rows, other in zip(in_a_thread, at_once, strict=True))


async def test_an_exchanges_own_bars_are_filled_where_it_was_asked_and_had_none():
    segments = [hours(0, 2), hours(2, 4, State.EMPTY), hours(4, 6, State.EMPTY, 3), hours(6, 8, State.FAILED)]
    async with stored(segments, [START]) as store:
        rows, _ = await store.ask(TimeRange(START, START + 8 * HOUR), "1h", Fill.NULL)

    assert rows["synthetic"].to_pylist() == [False, True, True, True, True, True]


@pytest.mark.parametrize("fill", FILLS)
async def test_a_fill_changes_no_byte_of_what_is_stored_of_fetched_rows(tmp_path, fill):
    opens = [START + place * HOUR for place in range(24 * 40) if place % 7]
    contents = []
    for asked in (Fill.NONE, fill):
        root = tmp_path / asked
        rig = HistoryRig(root, NOW).connect(FakeExchange(opens, 100, timeframes=["1h"], now=lambda: NOW))
        wanted = TimeRange(START, START + 24 * 40 * HOUR)
        series = rig.manager.series("fake", SYMBOL, "ohlcv", "1h")
        await rows_of(await rig.manager.open(series, wanted, refresh=False, fill=asked))
        contents.append(Stored(rig, [], root).content())

    without, with_fill = contents
    assert without
    assert with_fill == without


async def test_the_close_before_a_range_is_looked_for_as_far_back_as_nothing_is_known_to_have_been_traded():
    """Over the turn of the year, which is a border of what is stored."""
    async with stored([hours(0, 24 * 20)], [START + HOUR]) as store:
        rows, receipt = await store.ask(span("2024-01-15", "2024-01-15T03:00"), "1h", Fill.PREVIOUS_CLOSE)
        made, _ = await store.ask(span("2024-01-15", "2024-01-16"), "4h", Fill.PREVIOUS_CLOSE)

    close = rows_at([START + HOUR])["close"][0].as_py()
    assert rows["close"].to_pylist() == [close] * 3
    assert receipt.synthetic_rows == 3
    assert made["close"].to_pylist() == [close] * 6


@pytest.mark.parametrize("state", [State.FAILED, State.UNKNOWN])
async def test_no_close_is_used_of_before_a_time_that_is_not_known(state):
    lost = [hours(2, 3, State.FAILED)] if state is State.FAILED else []
    async with stored([hours(0, 2), *lost, hours(3, 24)], [START + HOUR]) as store:
        rows, receipt = await store.ask(TimeRange(START + 5 * HOUR, START + 8 * HOUR), "1h", Fill.PREVIOUS_CLOSE)

    assert (rows.num_rows, receipt.synthetic_rows) == (0, 0)


async def test_the_close_of_the_bar_in_which_a_market_was_listed_counts():
    listed_at = START + 2 * HOUR
    async with stored([hours(2, 16)], [listed_at], listed_at=listed_at) as store:
        whole, _ = await store.ask(TimeRange(START, START + 16 * HOUR), "4h", Fill.PREVIOUS_CLOSE)
        rest, _ = await store.ask(TimeRange(START + 4 * HOUR, START + 16 * HOUR), "4h", Fill.PREVIOUS_CLOSE)

    assert whole["synthetic"].to_pylist() == [False, True, True, True]
    assert rest.to_pylist() == whole.to_pylist()[1:]


async def test_a_derived_bar_of_which_a_part_may_still_come_is_not_filled():
    """Something was traded in it: a bar of no volume would be a lie."""
    async with stored([hours(0, 6), hours(6, 8, State.EMPTY), hours(8, 16)], [START, START + 5 * HOUR]) as store:
        rows, receipt = await store.ask(TimeRange(START, START + 16 * HOUR), "4h", Fill.PREVIOUS_CLOSE)

    assert rows["timestamp"].to_pylist() == [START]
    assert [gap.range for gap in receipt.gaps] == [TimeRange(START + 4 * HOUR, START + 8 * HOUR)]
