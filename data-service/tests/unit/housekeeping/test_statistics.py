from __future__ import annotations

import pytest
from storage_samples import known, write
from unit_builders import bars, minute, minutes, series, utc

from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.series import Kind
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage import integrity
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.housekeeping.scope import Scope
from cb_trade_data.storage.housekeeping.statistics import SeriesStatistics, statistics
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change

EVERYTHING = Scope()


async def all_of(storage, scope: Scope = EVERYTHING) -> dict[str, SeriesStatistics]:
    return {str(one.series): one async for one in statistics(storage, scope)}


async def test_an_empty_storage_has_no_statistics(storage, around):
    assert await all_of(storage) == {}
    assert around.paths() == []


async def test_each_series_is_counted_with_its_first_and_last_row(storage, fresh):
    opens = [utc("2023-12-31T23:58"), utc("2024-01-01"), utc("2024-02-29T23:59")]
    await storage.save_bulk_entries(series(), bars(opens))
    await storage.save_bulk_entries(series("ETH/USDT", "1d"), bars([utc("2024-01-05"), utc("2024-01-06")]))

    found = await all_of(fresh)

    assert sorted(found) == ["binance BTC/USDT ohlcv 1m", "binance ETH/USDT ohlcv 1d"]
    minutely, daily = found["binance BTC/USDT ohlcv 1m"], found["binance ETH/USDT ohlcv 1d"]
    assert (minutely.partitions, minutely.rows, minutely.first, minutely.last) == (3, 3, opens[0], opens[-1])
    assert (daily.partitions, daily.rows, daily.first, daily.last) == (1, 2, utc("2024-01-05"), utc("2024-01-06"))


async def test_the_size_is_that_of_all_objects_of_the_series(storage, around):
    await storage.save_bulk_entries(series(), bars([utc("2024-01-01"), utc("2024-02-01")]))
    await storage.write_facts(series(), SeriesFacts("BTCUSDT"))

    found = (await all_of(storage))[str(series())]

    assert found.size_bytes == sum(map(len, around.content().values()))
    assert found.bytes_per_row == found.size_bytes / 2


async def test_bars_that_are_known_to_be_missing_are_counted_by_their_state(storage):
    stored = known([0, 1]).with_changes(
        [
            Change(
                known([]).rows,
                (
                    Segment(minutes(2, 5), State.EMPTY, minute(90), 1),
                    Segment(minutes(5, 7), State.FAILED, minute(90), reason="timeout"),
                    Segment(minutes(8, 9), State.EMPTY, minute(91), 2),
                ),
            )
        ]
    )
    await write(storage, stored)

    assert (await all_of(storage))[str(series())].gap_bars == {State.EMPTY: 4, State.FAILED: 2}


async def test_a_partition_without_rows_counts_and_has_no_first_row(storage):
    empty = Change(known([]).rows, (Segment(minutes(0, 5), State.EMPTY, minute(90), 1),))
    await write(storage, known([]).with_changes([empty]))

    found = (await all_of(storage))[str(series())]

    assert (found.partitions, found.rows, found.first, found.last, found.bytes_per_row) == (1, 0, None, None, None)


async def test_no_row_is_decoded(storage, fresh, monkeypatch):
    await storage.save_bulk_entries(series(), bars([utc("2024-01-01")]))

    def no_rows(*arguments: object) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr(integrity, "rows_checksum", no_rows)

    assert (await all_of(fresh))[str(series())].rows == 1


async def test_a_partition_that_cannot_be_read_is_counted_apart_and_left_alone(storage, fresh, form, around):
    await storage.save_bulk_entries(series(), bars([utc("2024-01-01"), utc("2024-02-01")]))
    path = around.path_of(f"01{form.commit_end}")
    around.write(path, b"garbage")

    found = (await all_of(fresh))[str(series())]

    assert (found.partitions, found.rows, found.unreadable_partitions) == (1, 1, 1)
    assert around.read(path) == b"garbage"


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope("binance"), ["binance BTC/USDT ohlcv 1h", "binance BTC/USDT ohlcv 1m", "binance ETH/USDT ohlcv 1m"]),
        (Scope("binance", "BTC/USDT"), ["binance BTC/USDT ohlcv 1h", "binance BTC/USDT ohlcv 1m"]),
        (Scope("binance", "BTC/USDT", Timeframe.parse("1m")), ["binance BTC/USDT ohlcv 1m"]),
        (Scope("binance", "BTC/USDT", kind=Kind.TRADES), []),
        (Scope("kraken"), ["kraken BTC/USDT ohlcv 1m"]),
        (Scope("okx"), []),
    ],
    ids=str,
)
async def test_a_scope_leaves_out_the_rest(storage, scope, expected):
    for one in (series(), series(timeframe="1h"), series("ETH/USDT"), series(exchange="kraken")):
        await storage.save_bulk_entries(one, bars([utc("2024-01-01")]))

    assert sorted(await all_of(storage, scope)) == expected


@pytest.mark.parametrize(
    "parts",
    [
        (None, "BTC/USDT"),
        (None, None, Timeframe.parse("1m")),
        ("binance", None, Timeframe.parse("1m")),
        ("binance", None, None, Kind.TRADES),
        ("binance", "BTC/USDT", Timeframe.parse("1m"), Kind.TRADES),
        ("../x",),
        ("a", ""),
    ],
)
def test_a_scope_that_can_mean_nothing_is_refused(parts):
    with pytest.raises(ValueError, match=r"goes with|go together|not an exchange|a symbol"):
        Scope(*parts)


def test_statistics_use_the_times_of_the_rows():
    """The fixtures' own bars, so that the tests above compare what they mean to."""
    assert [from_ms(int(time)) for time in timestamps_ms(bars([utc("2024-01-01")]))] == [utc("2024-01-01")]
