"""Each code is said of what it is about, and of nothing that is as it should be."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner
from unit_builders import MINUTE, epoch_ms, minute, minute_bars, minutes, series, utc

from cb_trade_data.api.outgoing import segments_json
from cb_trade_data.api.v1_answers import GapAnswer
from cb_trade_data.commands.config import config
from cb_trade_data.errors import ExchangeNonsenseError
from cb_trade_data.exchange_source.facts import Bounds, EventPaging, ExchangeFacts
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.exchange_source.page_shape import well_shaped
from cb_trade_data.historical.event_validation import check_events
from cb_trade_data.historical.findings import Finding
from cb_trade_data.historical.ledger import tiles
from cb_trade_data.historical.quality_days import Gap, gaps_of
from cb_trade_data.historical.reach import Reach
from cb_trade_data.historical.validation import check_page, settle
from cb_trade_data.models.market import FUNDING_RATE_SCHEMA, OHLCV_SCHEMA, TIMESTAMP, TRADES_SCHEMA
from cb_trade_data.models.series import Kind
from cb_trade_data.quality.codes import DataCode
from cb_trade_data.quality.inspection import inspect
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.housekeeping.findings import FindingKind
from cb_trade_data.storage.housekeeping.scope import Scope
from cb_trade_data.storage.housekeeping.verification import Report, verify
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.series_facts import SeriesFacts

Codes = set[DataCode | None]

WINDOW = minutes(0, 10)
NOW = minute(60 * 24 * 30)
EXCHANGE = ExchangeFacts("generic", ("1m",), 10)
PAGING = EventPaging(1000, Bounds("start", "end"))
GOOD = (10.0, 12.0, 9.0, 11.0, 5.0)


def table(schema: pa.Schema, rows: Iterable[tuple[Any, ...]]) -> pa.Table:
    times, *columns = zip(*rows, strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, list(schema)[1:], strict=True)]
    return pa.table([pa.array(times, pa.int64()).cast(TIMESTAMP), *arrays], schema=schema)


def gate(*bars: tuple[float, ...] | float, now: Any = NOW) -> Codes:
    """Return what the gate finds in bars: the minute of each, and its numbers where they are not good ones."""
    rows = [each if isinstance(each, tuple) else (each, *GOOD) for each in bars]
    answer = table(OHLCV_SCHEMA, ((round(epoch_ms(minute(0)) + row[0] * 60_000), *row[1:]) for row in rows))
    return {finding.code for finding in check_page(Page(answer), WINDOW, MINUTE, EXCHANGE, now).findings}


def in_seconds(*numbers: int) -> Codes:
    answer = table(OHLCV_SCHEMA, ((epoch_ms(minute(number)) // 1000, *GOOD) for number in numbers))
    return {finding.code for finding in check_page(Page(answer), WINDOW, MINUTE, EXCHANGE, NOW).findings}


def trades(*ids: str) -> Codes:
    rows = ((epoch_ms(minute(place)), each, "buy", 1.0, 1.0) for place, each in enumerate(ids))
    checked = check_events(Page(table(TRADES_SCHEMA, rows)), WINDOW, Kind.TRADES, PAGING, NOW)
    return {finding.code for finding in checked.findings}


def funding(minute_of_hour: int) -> Codes:
    rows = [(epoch_ms(utc("2024-02-29")) + minute_of_hour * 60_000, 0.0001, None)]
    window = minutes(0, 60 * 24)
    checked = check_events(Page(table(FUNDING_RATE_SCHEMA, rows)), window, Kind.FUNDING_RATE, PAGING, NOW)
    return {finding.code for finding in checked.findings}


def shape(rows: pa.Table) -> Codes:
    try:
        well_shaped(Page(rows), series())
    except ExchangeNonsenseError as error:
        return {DataCode(error.reason.partition(":")[0])}
    return set()


def with_column(name: str, kind: pa.DataType) -> pa.Table:
    rows = minute_bars(range(3))
    return rows.set_column(rows.schema.get_field_index(name), name, rows.column(name).cast(kind))


def settled(*numbers: int, wanted: int = 10) -> Codes:
    """Return what is told of the minutes without rows after an answer with these, of which the first so many count."""
    answer = table(OHLCV_SCHEMA, ((epoch_ms(minute(number)), *GOOD) for number in numbers)) if numbers else None
    page = Page(minute_bars([]) if answer is None else answer)
    known_of = settle(check_page(page, WINDOW, MINUTE, EXCHANGE, NOW), [minutes(0, wanted)], MINUTE, NOW)
    segments = tiles(WINDOW, Coverage().with_segments(known_of.segments), Reach(SeriesFacts("")))
    return {GapAnswer.of(gap).code for gap in gaps_of(segments, known_of.rows, MINUTE)}


def odd(change: Callable[[dict[str, Any]], object] = lambda columns: None) -> Codes:
    """Return what inspection finds in a lively market after a change to its columns."""
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, 200)))
    columns = {
        "open": np.append(100.0, close[:-1]),
        "high": np.maximum(np.append(100.0, close[:-1]), close) * 1.002,
        "low": np.minimum(np.append(100.0, close[:-1]), close) * 0.998,
        "close": close,
        "volume": np.exp(rng.normal(2, 0.7, 200)),
    }
    change(columns)
    times = epoch_ms(minute(0)) + np.arange(200) * 60_000
    rows = pa.table([pa.array(times).cast(TIMESTAMP), *columns.values()], schema=OHLCV_SCHEMA)
    return {code for code, numbers in inspect(rows, MINUTE).flagged.items() if len(numbers)}


def times_ten(columns: dict[str, Any], factor: float = 10.0) -> None:
    for name in ("open", "high", "low", "close"):
        columns[name][100:110] *= factor


def at_one_price(columns: dict[str, Any]) -> None:
    for name in ("open", "high", "low", "close"):
        columns[name][100:106] = columns["close"][99]


def as_before(columns: dict[str, Any]) -> None:
    for column in columns.values():
        column[100] = column[99]


def much(name: str, factor: float) -> Callable[[dict[str, Any]], None]:
    def change(columns: dict[str, Any]) -> None:
        columns[name][100] *= factor

    return change


def stored(folder: Path, damage: Callable[[bytes], bytes]) -> Codes:
    """Return what is found in a storage, the bytes of a partition of which are damaged."""
    asyncio.run(LocalFileStorage(folder, ParquetLayout()).save_bulk_entries(series(), minute_bars(range(3))))
    path = next(folder.rglob("*.parquet"))
    path.write_bytes(damage(path.read_bytes()))
    report = Report()

    async def look() -> None:
        async for item in verify(LocalFileStorage(folder, ParquetLayout()), Scope()):
            report.add(item)

    asyncio.run(look())
    return {finding.kind.code for finding in report.findings}


def configured(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Codes:
    """Return what `config check` says of an environment."""
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(f"CB_TRADE_{name}", value)
        told = CliRunner().invoke(config, ["check"]).stderr
    return {code for code in DataCode if f"  - {code}: CB_TRADE_" in told}


#: What each code is said of, and what is nearly that and is not.
CASES: dict[DataCode, tuple[Callable[[], Codes], Callable[[], Codes]]] = {
    DataCode.OBJECT_MISSING: (lambda: {Report().code}, lambda: {Report(partitions=1).code}),
    DataCode.EMPTY: (lambda: settled(), lambda: settled(*range(10))),
    DataCode.OUTSIDE: (lambda: gate(0, 11), lambda: gate(0, 9)),
    DataCode.OHLC_VIOLATED: (lambda: gate((1, 10.0, 9.0, 8.0, 9.0, 1.0)), lambda: gate((1, 9.0, 9.0, 9.0, 9.0, 0.0))),
    DataCode.NEGATIVE: (lambda: gate((1, 10.0, 12.0, 9.0, 11.0, -1.0)), lambda: gate((1, 10.0, 12.0, 0.0, 11.0, 0.0))),
    DataCode.DUPLICATE: (lambda: gate(1, 1), lambda: gate(1, (1, 10.0, 12.0, 9.0, 11.0, 6.0))),
    DataCode.OFF_GRID: (lambda: gate(1.5), lambda: gate(1)),
    DataCode.PRICE_OUTLIER: (lambda: odd(much("high", 1.1)), lambda: odd(much("high", 1.003))),
    DataCode.COLUMN_MISSING: (
        lambda: shape(minute_bars(range(3)).drop_columns("volume")),
        lambda: shape(minute_bars(range(3))),
    ),
    DataCode.BAD_TIMESTAMP: (lambda: in_seconds(1, 2), lambda: gate(1.5)),
    DataCode.GAP: (lambda: settled(0, 1, 3, 4, 9), lambda: settled(*range(10))),
    DataCode.NOT_A_NUMBER: (lambda: gate((1, math.nan, 12.0, 9.0, 11.0, 5.0)), lambda: gate((1, *GOOD))),
    DataCode.CONFLICT: (lambda: gate(1, (1, 10.0, 12.0, 9.0, 11.0, 6.0)), lambda: gate(1, 1)),
    DataCode.UNSORTED: (lambda: gate(1, 3, 2), lambda: gate(3, 2, 1)),
    DataCode.FUTURE: (lambda: gate(60 * 24 * 31), lambda: gate(9, now=minute(9))),
    DataCode.OPEN: (lambda: gate(9, now=minute(9.5)), lambda: gate(9, now=minute(20))),
    DataCode.VOLUME_OUTLIER: (lambda: odd(much("volume", 1000)), lambda: odd(much("volume", 2))),
    DataCode.FLAT_RUN: (lambda: odd(at_one_price), lambda: odd(as_before)),
    DataCode.STALE_REPEAT: (lambda: odd(as_before), lambda: odd(at_one_price)),
    DataCode.OTHER_UNIT: (lambda: odd(times_ten), lambda: odd(lambda columns: times_ten(columns, 7.0))),
    DataCode.WRONG_TYPE: (
        lambda: shape(with_column("close", pa.string())),
        lambda: shape(with_column("close", pa.float64())),
    ),
    DataCode.NO_ZONE: (
        lambda: shape(with_column("timestamp", pa.timestamp("ms"))),
        lambda: shape(with_column("timestamp", pa.timestamp("ms", "UTC"))),
    ),
    DataCode.BACKWARDS: (lambda: trades("2", "1"), lambda: trades("1", "2")),
    DataCode.OFF_SCHEDULE: (lambda: funding(15), lambda: funding(0)),
    DataCode.NOT_COVERED: (lambda: settled(0, 1, 2, wanted=3), lambda: settled(0, 1, 2)),
    DataCode.NAMELESS: (lambda: trades("1", ""), lambda: trades("1", "2")),
}
#: These take a folder, or an environment.
OTHERS = {DataCode.UNPARSABLE, DataCode.CONFIGURATION_MISSING}


@pytest.mark.parametrize("code", CASES)
def test_a_code_is_said_of_what_it_is_about(code: DataCode):
    assert code in CASES[code][0]()


@pytest.mark.parametrize("code", CASES)
def test_a_code_is_not_said_of_what_is_nearly_that(code: DataCode):
    assert code not in CASES[code][1]()


def test_what_cannot_be_read_is_unparsable_and_nothing_else_is(tmp_path: Path):
    assert stored(tmp_path / "damaged", lambda data: data[: len(data) // 2]) == {DataCode.UNPARSABLE}
    assert stored(tmp_path / "sound", lambda data: data) == set()


def test_a_setting_that_is_missing_is_a_configuration_that_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)

    assert configured(monkeypatch) == {DataCode.CONFIGURATION_MISSING}
    assert configured(monkeypatch, AUTH__JWKS_URL="https://login.example/keys") == {DataCode.CONFIGURATION_MISSING}
    assert configured(monkeypatch, AUTH__SECRET="a secret for tests that is long enough") == set()
    assert configured(monkeypatch, AUTH__SECRET="too short") == set()


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (State.EMPTY, DataCode.EMPTY),
        (State.FAILED, DataCode.NOT_COVERED),
        (State.UNAVAILABLE, DataCode.NOT_COVERED),
        (State.UNKNOWN, DataCode.NOT_COVERED),
        (State.UNLISTED, None),
        (State.DELISTED, None),
    ],
)
def test_time_without_rows_has_the_code_of_its_state_wherever_it_is_told(state: State, code: DataCode | None):
    [told] = segments_json([Segment(WINDOW, state)])

    assert told.get("code") == code
    assert GapAnswer.of(Gap(WINDOW, 10, state, "")).code == code


def test_held_time_has_a_code_only_where_it_has_no_rows():
    [told] = segments_json([Segment(WINDOW, State.HELD)])

    assert "code" not in told
    assert GapAnswer.of(Gap(WINDOW, 10, State.HELD, "")).code == DataCode.GAP
    assert "code" not in Segment(WINDOW, State.FAILED).to_json(), "it is not stored: it follows from the state"


def test_every_code_is_tried():
    assert CASES.keys() | OTHERS == set(DataCode)
    assert not CASES.keys() & OTHERS


@pytest.mark.parametrize("finding", list(Finding))
def test_every_finding_of_the_gate_has_a_code(finding: Finding):
    assert finding.code in DataCode


@pytest.mark.parametrize("kind", list(FindingKind))
def test_every_problem_in_storage_has_a_code_and_no_leftover_has(kind: FindingKind):
    assert (kind.code is not None) == kind.is_problem


def test_rows_that_are_kept_are_flagged_and_all_that_the_gate_drops_are_rejected():
    kept = {Finding.UNSORTED, Finding.BACKWARDS, Finding.OFF_SCHEDULE}

    assert {finding for finding in Finding if finding.code.verdict == "flagged"} == kept
    assert {finding for finding in Finding if finding.code.verdict == "rejected"} == set(Finding) - kept
