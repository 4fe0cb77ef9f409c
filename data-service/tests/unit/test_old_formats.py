"""Files of earlier releases are read for ever; see `fixtures/storage-format-*/make_fixture.py`."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from datetime import datetime
from functools import cache
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from unit_builders import assert_same_rows, bars, series, table

from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.interfaces import IRawDataStorage
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout

LAYOUTS = {"parquet": ParquetLayout, "arrow": ArrowLayout, "json": JsonLayout}
FIXTURES = Path(__file__).parents[1] / "fixtures"
TREES = sorted(folder for folder in FIXTURES.glob("storage-format-*/*") if folder.name in LAYOUTS)


@pytest.fixture(params=TREES, ids=lambda tree: f"{tree.parent.name}-{tree.name}")
def tree(request) -> Path:
    return request.param


@pytest.fixture
def contents(tree):
    """What the files hold, by formula."""
    return list(_maker(tree.parent).contents(tree.name))


@cache
def _maker(folder: Path) -> ModuleType:
    name = f"make_{folder.name}"
    spec = importlib.util.spec_from_file_location(name, folder / "make_fixture.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def storage(tree, tmp_path) -> IRawDataStorage:
    """A storage over a copy of the files."""
    shutil.copytree(tree, tmp_path / "data")
    return LocalFileStorage(tmp_path / "data", LAYOUTS[tree.name]())


def partition_of(content):
    return partition_at(series(content.symbol, content.timeframe), content.coverage[0][0])


def test_there_are_files_of_every_layout_that_can_be_chosen():
    assert {tree.name for tree in TREES} == {*LAYOUTS}


async def test_every_row_and_every_state_is_read_as_it_was_written(storage, contents):
    for content in contents:
        stored = await storage.read_partition(partition_of(content))

        assert_same_rows(stored.rows.combine_chunks(), table(content.rows()))
        assert [
            (
                segment.range.start,
                segment.range.end,
                segment.state.value,
                segment.asked_at,
                segment.asks,
                segment.reason,
            )
            for segment in stored.coverage.segments
        ] == list(content.coverage)
    assert storage.damaged_objects == 0


def test_the_files_have_every_state(contents):
    assert {segment[2] for content in contents for segment in content.coverage} == set(State) - {State.UNKNOWN}


async def test_a_part_is_read_as_the_whole_is(storage, contents):
    content = contents[0]
    whole = table(content.rows())
    for first, end in ((0, 1), (50, 150), (len(whole) - 50, len(whole) - 1)):
        wanted = TimeRange(_time(whole, first), _time(whole, end))

        part = await storage.read_partition(partition_of(content), wanted)

        assert_same_rows(part.rows_in(wanted).combine_chunks(), whole.slice(first, end - first))


def _time(rows: pa.Table, number: int) -> datetime:
    return rows.column("timestamp")[number].as_py()


async def test_the_facts_are_read_as_they_were_written(storage, contents):
    for content in contents:
        facts = await storage.read_facts(series(content.symbol, content.timeframe))

        assert (facts.market_id, facts.listed_at, facts.listing_checked_at, facts.delisted_at) == content.facts


async def test_old_partitions_are_found_and_can_be_written_to(storage, contents):
    assert await storage.list_coins("binance") == sorted({content.symbol for content in contents})

    for content in contents:
        stored = await storage.read_partition(partition_of(content))
        new = bars([content.coverage[-1][1]])
        await storage.save_bulk_entries(series(content.symbol, content.timeframe), new)

        again = await storage.read_partition(partition_of(content))
        assert_same_rows(again.rows.combine_chunks(), pa.concat_tables([stored.rows, new]).combine_chunks())
        assert set(stored.coverage.segments) <= {*again.coverage.segments} | _joined(stored.coverage.segments)


def _joined(segments: tuple[Segment, ...]) -> set[Segment]:
    """The last segment, if it was of held rows, goes on in the new one."""
    return {segments[-1]} if segments[-1].state is State.HELD else set()
