from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_samples import known, write
from unit_builders import assert_same_rows, bars, minute, minutes, quick, series, span, utc

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.models.partition import EVER, partition_at, partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.housekeeping.deletion import Deletion, delete
from cb_trade_data.storage.housekeeping.scope import Scope
from cb_trade_data.storage.housekeeping.verification import verify
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.object_storage import ObjectStorage
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

EVERYTHING = Scope()
FACTS = SeriesFacts("BTCUSDT", utc("2017-08-17"), utc("2024-02-29"))
JANUARY, FEBRUARY, MARCH = utc("2024-01-01"), utc("2024-02-01"), utc("2024-03-01")


async def deleted(
    storage: ObjectStorage, scope: Scope, before: datetime | None = None, *, dry_run: bool = False
) -> list[Deletion]:
    return [each async for each in delete(storage, scope, before, dry_run=dry_run)]


async def opens_of(storage: ObjectStorage, of: Series) -> list[datetime]:
    return (
        await storage.get_range(of, EVER if of.grid.duration_ms >= 86_400_000 else span("2023-01-01", "2025-01-01"))
    )["timestamp"].to_pylist()


# --- What is deleted --------------------------------------------------------------------------------------------------


async def test_rows_before_an_instant_go_and_the_others_stay(storage, fresh, around):
    opens = [utc("2023-12-31T23:59"), JANUARY, FEBRUARY, utc("2024-02-01T00:01"), MARCH]
    await storage.save_bulk_entries(series(), bars(opens))

    done = await deleted(storage, EVERYTHING, utc("2024-02-01T00:01"))

    assert await opens_of(fresh, series()) == opens[3:]
    assert [(str(one.partition), one.rows, one.is_whole) for one in done] == [
        ("binance BTC/USDT ohlcv 1m 2023-12", 1, True),
        ("binance BTC/USDT ohlcv 1m 2024-01", 1, True),
        ("binance BTC/USDT ohlcv 1m 2024-02", 1, False),
    ]


async def test_what_is_known_of_the_deleted_bars_is_forgotten_and_nothing_else(storage, fresh):
    partition = partition_at(series(), minute(0))
    segments = (
        Segment(minutes(0, 3), State.HELD),
        Segment(minutes(3, 6), State.EMPTY, minute(90), 2),
        Segment(minutes(6, 7), State.FAILED, minute(91), reason="timeout"),
    )
    await write(storage, known([]).with_changes([Change(known([0, 2]).rows, segments)]))

    await deleted(storage, EVERYTHING, minute(4))

    left = await fresh.read_partition(partition)
    assert left.coverage == Coverage((Segment(minutes(4, 6), State.EMPTY, minute(90), 2), segments[2]))
    assert left.rows.num_rows == 0


async def test_a_partition_of_which_nothing_is_left_goes_whole(storage, around):
    """Also where the instant lies inside it: here the year, the series."""
    await storage.save_bulk_entries(series(timeframe="1h"), bars([JANUARY]))
    await storage.save_bulk_entries(series(timeframe="1d"), bars([JANUARY]))

    done = await deleted(storage, EVERYTHING, utc("2024-06-01"))

    assert [one.is_whole for one in done] == [True, True]
    assert around.paths() == []


async def test_a_whole_series_goes_with_its_facts(storage, around):
    await storage.save_bulk_entries(series(), bars([JANUARY, FEBRUARY]))
    await storage.write_facts(series(), FACTS)
    await storage.save_bulk_entries(series("ETH/USDT"), bars([JANUARY]))
    await storage.write_facts(series("ETH/USDT"), FACTS)
    others = {path: data for path, data in around.content().items() if "ETH" in path}

    done = await deleted(storage, Scope("binance", "BTC/USDT", series().grid))

    assert around.content() == others
    assert sum(one.rows for one in done) == 2


async def test_facts_go_with_the_last_row_and_no_sooner(storage, fresh):
    await storage.save_bulk_entries(series(), bars([JANUARY, FEBRUARY]))
    await storage.write_facts(series(), FACTS)

    await deleted(storage, EVERYTHING, FEBRUARY)
    assert await fresh.read_facts(series()) is not None

    await deleted(storage, EVERYTHING, MARCH)
    assert await fresh.read_facts(series()) is None


async def test_facts_of_a_series_without_rows_stay_unless_the_series_is_meant(storage, fresh):
    await storage.write_facts(series(), FACTS)

    assert await deleted(storage, EVERYTHING, MARCH) == []
    assert await fresh.read_facts(series()) is not None

    await deleted(storage, Scope("binance"))
    assert await fresh.read_facts(series()) is None


async def test_a_bar_stays_if_it_opens_at_or_after_the_instant(storage, fresh):
    """An instant inside a bar is after its opening: that bar goes."""
    opens = [JANUARY, utc("2024-01-01T01:00"), utc("2024-01-01T02:00")]
    await storage.save_bulk_entries(series(timeframe="1h"), bars(opens))

    await deleted(storage, EVERYTHING, utc("2024-01-01T00:00:00.001"))
    assert await opens_of(fresh, series(timeframe="1h")) == opens[1:]

    await deleted(storage, EVERYTHING, utc("2024-01-01T01:00"))
    assert await opens_of(fresh, series(timeframe="1h")) == opens[1:]

    left = await fresh.read_partition(partition_at(series(timeframe="1h"), JANUARY))
    assert list(left.coverage.ranges(State.HELD)) == [span("2024-01-01T01:00", "2024-01-01T03:00")]


async def test_the_size_is_that_of_whole_objects_and_a_share_of_cut_ones(storage, around):
    await storage.save_bulk_entries(series(), bars([JANUARY, FEBRUARY, utc("2024-02-02")]))
    of_january = sum(
        len(data) for path, data in around.content().items() if "/month=01/" in path or "/2024/01/" in path
    )
    of_all = sum(map(len, around.content().values()))

    whole, cut = await deleted(storage, EVERYTHING, utc("2024-02-02"))

    assert whole.size_bytes == of_january
    assert cut.size_bytes == round((of_all - of_january) / 2)


async def test_a_dry_run_tells_the_same_and_changes_nothing(storage, open_storage, around):
    await storage.save_bulk_entries(series(), bars([JANUARY, FEBRUARY, utc("2024-02-02")]))
    await storage.write_facts(series(), FACTS)
    before = around.content()

    for instant in (utc("2024-02-02"), None):
        planned = await deleted(storage, EVERYTHING, instant, dry_run=True)
        assert around.content() == before
        assert sum(one.rows for one in planned) == (2 if instant else 3)

    assert await deleted(open_storage(), EVERYTHING) == planned


async def test_what_is_left_is_sound(storage, fresh):
    await storage.save_bulk_entries(series(), bars([JANUARY, FEBRUARY, utc("2024-02-02"), utc("2024-02-03")]))

    await deleted(storage, EVERYTHING, utc("2024-02-02"))

    items = [item async for item in verify(fresh, EVERYTHING)]
    assert [item.findings for item in items if item.findings] == []
    assert sum(item.rows for item in items) == 2


# --- The same as a plain model ----------------------------------------------------------------------------------------

#: Around the end of a month, at its start, and far away in the next one but one.
SOME_MINUTES = [utc("2024-01-31T23:50") + timedelta(minutes=number) for number in range(20)] + [
    utc("2024-03-15T12:00") + timedelta(minutes=number) for number in range(5)
]
SPAN = span("2024-01-01", "2024-04-01")
facts_of_bars = st.dictionaries(st.sampled_from(SOME_MINUTES), st.sampled_from(["row", "quiet", "empty", "failed"]))


def fact(open_time: datetime, what: str) -> Segment:
    bar = series().grid.bar(open_time)
    match what:
        case "empty":
            return Segment(bar, State.EMPTY, utc("2024-06-01"), 1)
        case "failed":
            return Segment(bar, State.FAILED, utc("2024-06-01"), reason="timeout")
        case _:
            return Segment(bar, State.HELD)


async def store(storage: ObjectStorage, facts: dict[datetime, str]) -> None:
    for partition, _ in partitions_of(series(), SPAN):
        inside = sorted(open_time for open_time in facts if open_time in partition.range)
        rows = bars(open_time for open_time in inside if facts[open_time] == "row")
        if inside:
            change = Change(rows, tuple(fact(open_time, facts[open_time]) for open_time in inside))
            await write(storage, StoredPartition.empty(partition).with_changes([change]))


async def stored_facts(storage: ObjectStorage) -> dict[datetime, str]:
    """Read back what `store` wrote, and check that the rows are those that were written."""
    facts: dict[datetime, str] = {}
    for partition, _ in partitions_of(series(), SPAN):
        stored = await storage.read_partition(partition)
        opens = stored.rows["timestamp"].to_pylist()
        assert_same_rows(stored.rows.combine_chunks(), bars(opens))
        for segment in stored.coverage.segments:
            for open_time in (moment for moment in SOME_MINUTES if moment in segment.range):
                state = "quiet" if segment.state is State.HELD else segment.state.value
                facts[open_time] = "row" if open_time in opens else state
    return facts


@pytest.mark.parametrize("layout", [ParquetLayout, JsonLayout])
@quick(40)
@given(facts=facts_of_bars, moment=st.sampled_from(SOME_MINUTES), after_ms=st.integers(-90_000, 90_000))
def test_deleting_is_forgetting_every_bar_that_opens_before_the_instant(layout, facts, moment, after_ms):
    before = moment + timedelta(milliseconds=after_ms)

    async def scenario() -> None:
        with tempfile.TemporaryDirectory() as root:
            await store(LocalFileStorage(Path(root), layout()), facts)
            done = await deleted(LocalFileStorage(Path(root), layout()), EVERYTHING, before)
            left = await stored_facts(LocalFileStorage(Path(root), layout()))

        assert left == {open_time: what for open_time, what in facts.items() if open_time >= before}
        gone = [open_time for open_time, what in facts.items() if open_time < before and what == "row"]
        assert sum(one.rows for one in done) == len(gone)

    asyncio.run(scenario())


# --- While others write -----------------------------------------------------------------------------------------------


def once_before(
    storage: ObjectStorage, verb: str, intrude: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make *intrude* happen just before *storage* first calls its byte verb."""
    original = getattr(storage, verb)
    intruders = [intrude]

    async def after_the_intruder(*arguments: object) -> object:
        while intruders:
            await intruders.pop()()
        return await original(*arguments)

    monkeypatch.setattr(storage, verb, after_the_intruder)


async def test_what_is_stored_meanwhile_for_a_bar_that_stays_is_kept(storage, fresh, monkeypatch):
    await storage.save_bulk_entries(series(), bars([JANUARY, utc("2024-01-05")]))
    news = bars([utc("2024-01-02"), utc("2024-01-09")], price=700)
    once_before(storage, "put_object", lambda: fresh.save_bulk_entries(series(), news), monkeypatch)

    (done,) = await deleted(storage, EVERYTHING, utc("2024-01-03"))

    assert await opens_of(fresh, series()) == [utc("2024-01-05"), utc("2024-01-09")]
    assert done.rows == 2


async def test_a_partition_that_changes_meanwhile_is_decided_about_anew(storage, fresh, around, monkeypatch):
    await storage.save_bulk_entries(series(), bars([JANUARY]))
    news = bars([utc("2024-01-02"), utc("2024-01-09")])
    once_before(storage, "delete_object", lambda: fresh.save_bulk_entries(series(), news), monkeypatch)

    (done,) = await deleted(storage, EVERYTHING, FEBRUARY)

    assert around.paths() == []
    assert done.rows == 3


async def test_a_partition_that_somebody_else_deletes_meanwhile_is_not_counted(storage, fresh, monkeypatch):
    await storage.save_bulk_entries(series(), bars([JANUARY]))
    once_before(storage, "delete_object", lambda: deleted(fresh, EVERYTHING), monkeypatch)

    assert await deleted(storage, EVERYTHING) == []


async def test_facts_that_change_meanwhile_go_all_the_same(storage, fresh, around, monkeypatch):
    written = await storage.write_facts(series(), FACTS)
    news = replace(written, market_id="XBTUSDT")
    once_before(storage, "delete_object", lambda: fresh.write_facts(series(), news), monkeypatch)

    await deleted(storage, EVERYTHING)

    assert around.paths() == []


async def test_a_storage_that_never_lets_go_is_given_up(storage, monkeypatch):
    await storage.save_bulk_entries(series(), bars([JANUARY]))

    async def never(path: str, version: str) -> bool:
        return False

    monkeypatch.setattr(storage, "delete_object", never)

    with pytest.raises(StorageUnavailableError, match="races"):
        await deleted(storage, EVERYTHING)


# --- Damage -----------------------------------------------------------------------------------------------------------


async def test_a_damaged_partition_goes_with_the_whole(storage, form, around):
    await storage.save_bulk_entries(series(), bars([JANUARY]))
    path = around.path_of(form.commit_end)
    around.write(path, b"garbage")

    (done,) = await deleted(storage, EVERYTHING)

    assert (done.rows, done.is_whole, done.problem) == (0, True, None)
    assert path not in around.paths()
    assert storage.damaged_objects == 0


async def test_a_damaged_partition_that_would_have_to_be_cut_is_left_alone_and_told(storage, form, around):
    await storage.save_bulk_entries(series(), bars([JANUARY, FEBRUARY]))
    await storage.write_facts(series(), FACTS)
    path = around.path_of(f"02{form.commit_end}")
    around.write(path, b"garbage")

    whole, cut = await deleted(storage, EVERYTHING, utc("2024-02-15"))

    assert (whole.rows, whole.problem) == (1, None)
    assert (cut.rows, cut.is_whole) == (0, False)
    assert "damaged" in cut.problem
    assert around.read(path) == b"garbage"
    assert around.path_of("/_series.json")


async def test_copies_of_what_was_set_aside_and_files_that_are_nobodys_stay(storage, form, around):
    await storage.save_bulk_entries(series(), bars([JANUARY]))
    around.write("readme.txt", b"hello")
    around.write("_damaged/ohlcv/something.v1", b"hello")

    await deleted(storage, EVERYTHING)

    assert around.paths() == ["_damaged/ohlcv/something.v1", "readme.txt"]
