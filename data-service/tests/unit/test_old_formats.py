"""Files of earlier releases are read for ever; see `fixtures/storage-format-*/make_fixture.py`."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from unit_builders import assert_same_rows, epoch_ms

from cb_trade_data.models.digest import unit_digests
from cb_trade_data.models.market import SCHEMAS
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality import evidence
from cb_trade_data.quality.codes import DataCode
from cb_trade_data.quality.evidence import Found
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.interfaces import IRawDataStorage
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.metadata import inspected
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


def series_of(content) -> Series:
    timeframe = None if content.timeframe is None else Timeframe.parse(content.timeframe)
    return Series("binance", content.symbol, Kind(content.kind), timeframe)


def partition_of(content):
    return partition_at(series_of(content), content.coverage[0][0])


def rows_of(content) -> pa.Table:
    return table(content.kind, content.rows())


def evidence_of(content) -> dict[int, Found] | None:
    if content.evidence is None:
        return None
    return {
        epoch_ms(day): Found(rows, {DataCode(code): count for code, count in flagged.items()})
        for day, rows, flagged in content.evidence
    }


def table(kind: str, rows: list[tuple]) -> pa.Table:
    schema = SCHEMAS[Kind(kind)]
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column).cast(field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def test_there_are_files_of_every_layout_that_can_be_chosen():
    assert {tree.name for tree in TREES} == {*LAYOUTS}


async def test_every_row_and_every_state_is_read_as_it_was_written(storage, contents):
    for content in contents:
        stored = await storage.read_partition(partition_of(content))

        assert_same_rows(stored.rows.combine_chunks(), rows_of(content))
        assert stored.digests in ({}, unit_digests(rows_of(content), series_of(content)))
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


async def test_evidence_is_read_as_it_was_written_by_the_rules_of_then(storage, contents, monkeypatch):
    monkeypatch.setattr(evidence, "RULES", 1)

    for content in contents:
        assert (await storage.read_outline(partition_of(content))).evidence == evidence_of(content)
        assert (await storage.read_partition(partition_of(content))).evidence == evidence_of(content)


async def test_evidence_by_the_rules_of_then_says_nothing_by_those_of_now(storage, contents):
    for content in contents:
        assert (await storage.read_outline(partition_of(content))).evidence is None
        assert (await storage.read_partition(partition_of(content))).evidence is None


def test_the_files_have_every_state(contents):
    assert {segment[2] for content in contents for segment in content.coverage} == set(State) - {State.UNKNOWN}


async def test_a_part_is_read_as_the_whole_is(storage, contents):
    for content in contents:
        whole = rows_of(content)
        for first, end in ((0, 1), (5, 19), (50, 150), (len(whole) // 2, -1), (-17, -1)):
            if not -len(whole) <= first < len(whole) > end:
                continue
            wanted = TimeRange(_time(whole, first), _time(whole, end) + timedelta(milliseconds=1))

            part = await storage.read_partition(partition_of(content), wanted)

            inside = [wanted.start <= time < wanted.end for time in whole.column("timestamp").to_pylist()]
            assert_same_rows(part.rows_in(wanted).combine_chunks(), whole.filter(pa.array(inside)))


def _time(rows: pa.Table, number: int) -> datetime:
    return rows.column("timestamp")[number].as_py()


async def test_the_facts_are_read_as_they_were_written(storage, contents):
    for content in contents:
        facts = await storage.read_facts(series_of(content))

        assert (facts.market_id, facts.listed_at, facts.listing_checked_at, facts.delisted_at) == content.facts


async def test_old_partitions_are_found_and_can_be_written_to(storage, contents):
    assert await storage.list_coins("binance") == sorted({content.symbol for content in contents})

    for content in contents:
        stored = await storage.read_partition(partition_of(content))
        partition_end = partition_of(content).range.end
        time = min(content.coverage[-1][1], partition_end - timedelta(milliseconds=1))
        values = {"ohlcv": (2.0, 3.0, 1.0, 2.0, 5.0), "trades": ("1", "buy", 2.0, 3.0), "funding_rate": (0.1, None)}
        new = table(content.kind, [(epoch_ms(time), *values[content.kind])])
        await storage.save_bulk_entries(series_of(content), new)

        again = await storage.read_partition(partition_of(content))
        assert_same_rows(again.rows.combine_chunks(), pa.concat_tables([stored.rows, new]).combine_chunks())
        assert set(stored.coverage.segments[:-1]) <= {*again.coverage.segments}
        assert again.evidence == inspected(again)


def test_the_files_have_every_kind_that_has_a_past(contents):
    assert {content.kind for content in contents} == {*Kind} - {Kind.ORDER_BOOK}
