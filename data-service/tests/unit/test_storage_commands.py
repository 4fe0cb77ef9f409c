from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from typer.testing import CliRunner
from unit_builders import bars, epoch_ms, minute, minutes, rows_of, series, utc

from cb_trade_data.commands.storage import storage as storage_command
from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.implementations.azure_blob_storage import AzureBlobStorage, open_container
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.object_storage import ObjectStorage
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

JANUARY, FEBRUARY = utc("2024-01-01"), utc("2024-02-01")


@pytest.fixture(autouse=True)
def _settings(monkeypatch, tmp_path) -> None:
    """No settings but ours: a working folder without .env files, no variable of this machine's, and no signing key."""
    for name in [name for name in os.environ if name.startswith("CB_TRADE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


async def some_rows(storage: ObjectStorage) -> None:
    await storage.save_bulk_entries(series(), bars([JANUARY, FEBRUARY, utc("2024-02-02")]))
    await storage.write_facts(series(), SeriesFacts("BTCUSDT", JANUARY, utc("2024-03-01")))
    await storage.save_bulk_entries(series("ETH/USDT", "1h", exchange="kraken"), bars([JANUARY]))
    partition = partition_at(series(timeframe="5m"), minute(0))
    asked = Change(bars([]), (Segment(minutes(2, 12), State.EMPTY, minute(90), 1),))
    await storage.write_partition(StoredPartition.empty(partition).with_changes([asked]), bars([]))


@pytest.fixture
def root(tmp_path) -> Path:
    """The folder of a storage with rows of three series."""
    asyncio.run(some_rows(LocalFileStorage(tmp_path / "data", ParquetLayout())))
    return tmp_path / "data"


@pytest.fixture
def at_a_terminal(monkeypatch) -> None:
    """Make the commands think that somebody can be asked."""
    module = importlib.import_module("cb_trade_data.commands.storage.delete")
    monkeypatch.setattr(module, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))


def run(*arguments: str, answer: str | None = None):
    return CliRunner().invoke(storage_command, arguments, input=answer)


def content(root: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in root.rglob("*") if file.is_file() and ".locks" not in file.parts}


# --- verify -----------------------------------------------------------------------------------------------------------


def test_verify_says_in_one_line_that_all_is_sound(root):
    before = content(root)

    result = run("verify")

    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"{root} (local, parquet): 4 partitions, 4 rows, ")
    assert line.endswith(": sound")
    assert content(root) == before


def test_verify_lists_problems_with_what_to_do_and_exits_with_1(root):
    part = root / "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=01/part.parquet"
    part.write_bytes(b"garbage")
    (root / "notes.txt").write_text("hello")

    result = run("verify")

    assert result.exit_code == 1
    heading, problem, leftover, *advice, summary = result.stdout.splitlines()
    assert heading.split() == ["finding", "count", "where", "what"]
    assert problem.split()[:3] == ["damaged_partition", "1", part.relative_to(root).as_posix()]
    assert leftover.split() == ["foreign", "1", "notes.txt"]
    assert any(line.startswith("damaged_partition: the service sets it aside") for line in advice)
    assert summary.endswith(": 1 problem, 1 leftover")
    assert part.read_bytes() == b"garbage"


def test_verify_exits_with_0_where_there_are_only_leftovers(root):
    (root / "notes.txt").write_text("hello")

    result = run("verify")

    assert result.exit_code == 0
    assert result.stdout.endswith(": sound, 1 leftover\n")


def test_verify_can_tell_a_program(root):
    (root / "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/_series.json").write_text("{}")

    result = run("verify", "binance", "--json")

    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (report["partitions"], report["rows"], report["problems"]) == (3, 3, 1)
    assert report["counts"] == {"damaged_facts": 1}
    (finding,) = report["findings"]
    assert finding["is_problem"]
    assert (finding["code"], report["code"]) == ("DATA-002", None)
    assert finding["path"].endswith("/_series.json")
    assert finding["detail"]
    assert not report["findings_truncated"]


@pytest.mark.parametrize(
    ("arguments", "partitions"), [(["kraken"], 1), (["binance", "BTC/USDT"], 3), (["binance", "BTC/USDT", "1m"], 2)]
)
def test_verify_keeps_to_what_it_is_asked_for(root, arguments, partitions):
    assert json.loads(run("verify", "--json", *arguments).stdout)["partitions"] == partitions


@pytest.mark.parametrize("arguments", [["../x"], ["binance", "BTC/USDT", "7x"], ["binance", ""]])
def test_words_that_can_name_nothing_are_wrong_usage(arguments):
    result = run("verify", *arguments)

    assert result.exit_code == 2
    assert result.stdout == ""


@pytest.mark.parametrize(("is_progress_seen", "walks"), [(False, 1), (True, 2)])
def test_verify_counts_beforehand_only_for_who_watches_its_progress(root, monkeypatch, is_progress_seen, walks):
    folders = []
    list_objects = LocalFileStorage.list_objects

    def counted(self, folder, **options):
        folders.append(folder)
        return list_objects(self, folder, **options)

    monkeypatch.setattr(LocalFileStorage, "list_objects", counted)
    module = importlib.import_module("cb_trade_data.commands.storage.verify")
    monkeypatch.setattr(module, "is_progress_seen", lambda: is_progress_seen)

    assert run("verify").exit_code == 0
    assert folders.count("") == walks


@pytest.mark.parametrize("arguments", [["okx"], ["binance", "BTC/USD"], ["kraken", "ETH/USDT", "1m"]], ids=str)
def test_verify_calls_nothing_sound_of_which_nothing_is_stored(root, arguments):
    result = run("verify", *arguments)

    assert result.exit_code == 1
    assert result.stdout.startswith(f"{root} (local, parquet): 0 partitions, 0 rows, ")
    assert result.stdout.endswith(": nothing to verify\n")


def test_verify_calls_an_empty_storage_not_sound(tmp_path):
    (tmp_path / "data").mkdir()

    result = run("verify")

    assert result.exit_code == 1
    assert result.stdout.endswith(": nothing to verify\n")


@pytest.mark.parametrize("arguments", [[], ["binance", "BTC/USDT", "1m"]], ids=str)
@pytest.mark.parametrize(("layout", "others"), [("json", ["parquet"]), ("arrow", ["parquet"])])
def test_verify_names_the_layout_of_what_it_does_not_see(root, monkeypatch, arguments, layout, others):
    monkeypatch.setenv("CB_TRADE_STORAGE__LAYOUT", layout)

    result = run("verify", *arguments)
    told = json.loads(run("verify", "--json", *arguments).stdout)

    assert result.exit_code == 1
    assert "there is something in the layout parquet: CB_TRADE_STORAGE__LAYOUT=parquet verifies that" in result.stdout
    assert "nothing to verify" in result.stdout.splitlines()[-1]
    assert told["other_layouts"] == others


def test_verify_finds_other_layouts_of_what_it_is_asked_for_alone(root, monkeypatch):
    rows = bars([JANUARY])
    asyncio.run(LocalFileStorage(root, JsonLayout()).save_bulk_entries(series(exchange="okx"), rows))
    monkeypatch.setenv("CB_TRADE_STORAGE__LAYOUT", "arrow")

    assert json.loads(run("verify", "--json").stdout)["other_layouts"] == ["parquet", "json"]
    assert json.loads(run("verify", "okx", "--json").stdout)["other_layouts"] == ["json"]
    assert json.loads(run("verify", "bybit", "--json").stdout)["other_layouts"] == []


# --- stats ------------------------------------------------------------------------------------------------------------


def test_stats_has_a_line_for_each_series_and_one_for_all(root):
    result = run("stats")

    assert result.exit_code == 0
    heading, *lines, total = result.stdout.splitlines()
    assert heading.split() == ["series", "partitions", "rows", "first", "last", "size", "B/row", "empty", "failed"]
    assert [" ".join(line.split()[:4]) for line in lines] == [
        "binance BTC/USDT ohlcv 1m",
        "binance BTC/USDT ohlcv 5m",
        "kraken ETH/USDT ohlcv 1h",
    ]
    assert lines[0].split()[4:8] == ["2", "3", "2024-01-01T00:00:00Z", "2024-02-02T00:00:00Z"]
    assert lines[1].split()[-2:] == ["2", "0"]
    assert total.startswith(f"{root} (local, parquet): 3 series, 4 partitions, 4 rows, ")


def test_stats_can_tell_a_program(root):
    (root / "_damaged").mkdir()
    (root / "_damaged/something.v1").write_bytes(b"")

    answer = json.loads(run("stats", "--json").stdout)

    assert answer["objects_set_aside"] == 1
    minutely = answer["series"][0]
    files = (root / "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m").rglob("*.*")
    size_bytes = sum(file.stat().st_size for file in files)
    assert minutely == {
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "kind": "ohlcv",
        "timeframe": "1m",
        "partitions": 2,
        "unreadable_partitions": 0,
        "rows": 3,
        "first": "2024-01-01T00:00:00Z",
        "last": "2024-02-02T00:00:00Z",
        "bytes": size_bytes,
        "bytes_per_row": size_bytes / 3,
        "gap_bars": {},
        "gap_secs": {},
    }
    assert answer["series"][1]["gap_bars"] == {"empty": 2}
    assert answer["series"][1]["gap_secs"] == {"empty": 600}


@pytest.fixture
def trades_too(root) -> Path:
    """The same storage with two days of trades, and an hour in which there were none."""
    trades = Series("binance", "BTC/USDT", Kind.TRADES, None)
    rows = rows_of(Kind.TRADES, *((epoch_ms(day), "7", "buy", 1.0, 1.0) for day in (JANUARY, FEBRUARY)))
    asked = Change(rows_of(Kind.TRADES), (Segment(minutes(2, 62), State.EMPTY, minute(90), 1),))

    async def save(storage: ObjectStorage) -> None:
        await storage.save_bulk_entries(trades, rows)
        empty = StoredPartition.empty(partition_at(trades, minute(2)))
        await storage.write_partition(empty.with_changes([asked]), rows_of(Kind.TRADES))

    asyncio.run(save(LocalFileStorage(root, ParquetLayout())))
    return root


def test_stats_tell_in_time_what_is_missing_of_a_kind_without_bars(trades_too):
    lines = run("stats").stdout.splitlines()
    answer = json.loads(run("stats", "--json").stdout)

    (line,) = (line for line in lines if line.startswith("binance BTC/USDT trades"))
    assert line.split()[3:7] == ["3", "2", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"]
    assert line.split()[-4:] == ["1", "h", "0", "s"]
    (trades,) = (one for one in answer["series"] if one["kind"] == "trades")
    assert (trades["timeframe"], trades["gap_bars"], trades["gap_secs"]) == (None, None, {"empty": 3600})


def test_a_kind_without_bars_is_named_in_place_of_the_timeframe(trades_too):
    verified = json.loads(run("verify", "binance", "BTC/USDT", "trades", "--json").stdout)
    deleted = run("delete", "--series", "binance", "BTC/USDT", "trades", "--yes")
    left = json.loads(run("stats", "--json").stdout)["series"]

    assert (verified["partitions"], verified["rows"], verified["problems"]) == (3, 2, 0)
    assert deleted.exit_code == 0
    assert "2 rows of 1 series" in deleted.stdout
    assert [(one["kind"], one["rows"]) for one in left] == [("ohlcv", 3), ("ohlcv", 0), ("ohlcv", 1)]


def test_stats_of_some_exchanges_leaves_out_the_others(root):
    answer = json.loads(run("stats", "kraken", "okx", "--json").stdout)

    assert [one["exchange"] for one in answer["series"]] == ["kraken"]


def test_stats_counts_an_exchange_that_is_named_twice_once(root):
    twice = json.loads(run("stats", "binance", "kraken", "binance", "--json").stdout)

    assert twice == json.loads(run("stats", "binance", "kraken", "--json").stdout)


def test_stats_points_to_what_is_damaged(root):
    next(root.rglob("month=01/part.parquet")).write_bytes(b"garbage")
    (root / "_damaged").mkdir()
    (root / "_damaged/something.v1").write_bytes(b"")

    result = run("stats")

    assert result.exit_code == 0
    assert "1 damaged object set aside in _damaged/" in result.stdout
    assert "1 partition cannot be read: cb-trade storage verify says why" in result.stdout


# --- delete -----------------------------------------------------------------------------------------------------------


def test_delete_deletes_and_says_what(root):
    result = run("delete", "--series", "binance", "BTC/USDT", "1m", "--before", "2024-02-02", "--yes")

    assert result.exit_code == 0
    assert result.stdout.startswith(f"{root} (local, parquet): 2 rows of 1 series, about ")
    assert result.stdout.endswith(": deleted\n")
    left = json.loads(run("stats", "--json").stdout)["series"]
    assert [one["rows"] for one in left] == [1, 0, 1]
    assert left[0]["first"] == "2024-02-02T00:00:00Z"


def test_delete_of_a_series_leaves_nothing_of_it(root):
    result = run("delete", "--series", "binance", "BTC/USDT", "1m", "--yes")

    assert result.exit_code == 0
    assert [path for path in content(root) if "timeframe=1m" in str(path)] == []
    assert len(content(root)) == 2


def test_delete_of_an_exchange_leaves_the_others(root):
    assert run("delete", "--exchange", "binance", "--yes").exit_code == 0

    assert [one["exchange"] for one in json.loads(run("stats", "--json").stdout)["series"]] == ["kraken"]


def test_a_dry_run_shows_what_would_go_and_needs_nobody_to_ask(root):
    before = content(root)

    result = run("delete", "--before", "2024-02-02", "--dry-run")

    assert result.exit_code == 0
    assert content(root) == before
    assert "3 rows of 2 series" in result.stdout
    assert result.stdout.endswith(": would be deleted\n")
    assert "binance BTC/USDT ohlcv 1m" in result.stdout


def test_delete_asks_first_and_takes_no_for_an_answer(root, at_a_terminal):
    before = content(root)

    result = run("delete", "--before", "2024-02-02", answer="n\n")

    assert result.exit_code == 1
    assert "delete 3 rows and what is known about their time? [y/N]" in result.stderr
    assert "nothing was deleted" in result.stderr
    assert "deleted" not in result.stdout
    assert content(root) == before


def test_delete_deletes_once_it_is_told_yes(root, at_a_terminal):
    result = run("delete", "--before", "2024-02-02", answer="y\n")

    assert result.exit_code == 0
    assert result.stdout.endswith(": deleted\n")
    assert [one["rows"] for one in json.loads(run("stats", "--json").stdout)["series"]] == [1, 0]


def test_delete_refuses_where_nobody_can_be_asked(root):
    before = content(root)

    result = run("delete", "--before", "2024-02-02", answer="y\n")

    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert content(root) == before


def test_delete_asks_nothing_where_there_is_nothing_to_delete(root, at_a_terminal):
    result = run("delete", "--before", "2020-01-01")

    assert result.exit_code == 0
    assert result.stdout.endswith(": there is nothing to delete\n")


def test_delete_tells_what_it_left_because_it_is_damaged(root):
    part = next(root.rglob("month=02/part.parquet"))
    part.write_bytes(b"garbage")

    result = run("delete", "--series", "binance", "BTC/USDT", "1m", "--before", "2024-02-02", "--yes")

    assert result.exit_code == 1
    assert "1 row of 1 series" in result.stdout
    assert "not deleted: binance BTC/USDT ohlcv 1m 2024-02: damaged" in result.stderr
    assert part.read_bytes() == b"garbage"


async def fail(self: ObjectStorage, path: str, version: str) -> bool:
    raise StorageUnavailableError(path, "the disk is gone")


async def interrupt(self: ObjectStorage, path: str, version: str) -> bool:
    signal.raise_signal(signal.SIGINT)
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("trouble", "exit_code", "told"), [(fail, 1, "error: storage_unavailable: "), (interrupt, 130, "interrupted")]
)
def test_a_deletion_that_ends_half_way_tells_what_is_deleted_already(root, monkeypatch, trouble, exit_code, told):
    delete_object = LocalFileStorage.delete_object

    def delete(self, path, version):
        return (trouble if "exchange=kraken" in path else delete_object)(self, path, version)

    monkeypatch.setattr(LocalFileStorage, "delete_object", delete)

    result = run("delete", "--before", "2025-01-01", "--yes")

    assert result.exit_code == exit_code
    assert told in result.stderr
    deleted = result.stderr.splitlines()[-1]
    assert deleted.startswith(f"{root} (local, parquet): 3 rows of 2 series, ")
    assert deleted.endswith(": deleted before that, perhaps more; delete again for the rest")
    assert {path.relative_to(root).parts[1] for path in content(root)} == {"exchange=kraken"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--series", "binance", "BTC/USDT", "1m", "--exchange", "binance"],
        ["--series", "binance", "BTC/USDT", "7x"],
        ["--before", "yesterday"],
        ["--before", "1969-01-01"],
        ["--before", "9999-12-31"],
    ],
    ids=str,
)
def test_a_deletion_that_can_mean_nothing_is_wrong_usage(root, arguments):
    before = content(root)

    result = run("delete", "--yes", *arguments)

    assert result.exit_code == 2
    assert content(root) == before


# --- Settings and places ----------------------------------------------------------------------------------------------


def test_the_commands_open_the_storage_that_the_settings_name(azurite, monkeypatch):
    container = f"test-{uuid4().hex}"

    async def fill() -> None:
        storage = AzureBlobStorage(open_container(container, connection_string=azurite), ArrowLayout())
        await some_rows(storage)
        await storage.close()

    asyncio.run(fill())
    monkeypatch.setenv("CB_TRADE_STORAGE__BACKEND", "azure")
    monkeypatch.setenv("CB_TRADE_STORAGE__LAYOUT", "arrow")
    monkeypatch.setenv("CB_TRADE_STORAGE__AZURE__CONNECTION_STRING", azurite)
    monkeypatch.setenv("CB_TRADE_STORAGE__AZURE__CONTAINER", container)

    assert run("verify").stdout.startswith(f"container {container} (azure, arrow): 4 partitions, 4 rows, ")
    assert "4 rows of 3 series" in run("delete", "--before", "2025-01-01", "--yes").stdout
    assert json.loads(run("stats", "--json").stdout)["series"] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CB_TRADE_STORAGE__BACKEND", "s3"),
        ("CB_TRADE_STORAGE_ROOT", "/srv/data"),
        ("CB_TRADE_STORAGE__AZURE__ACCOUNT_URL", "http://account.example"),
        ("CB_TRADE_STORAGE__AZURE__CONNECTION_STRING", "garbage"),
    ],
)
def test_settings_that_need_attention_are_told_and_exit_with_2(monkeypatch, name, value):
    monkeypatch.setenv("CB_TRADE_STORAGE__BACKEND", "azure" if "AZURE" in name else "local")
    monkeypatch.setenv(name, value)

    result = run("stats")

    assert result.exit_code == 2
    assert f"  - {name}" in result.stderr


def test_settings_that_only_the_service_needs_may_be_wrong_for_the_storage_commands(root, monkeypatch):
    for name, value in (("AUTH__SECRET", "short"), ("PORT", "http"), ("EXCHANGES__BINANCE__OPTIONS", "[]")):
        monkeypatch.setenv(f"CB_TRADE_{name}", value)

    assert run("verify").exit_code == 0


@pytest.mark.parametrize("arguments", [["verify"], ["stats"], ["delete", "--before", "2024-01-01", "--yes"]])
def test_a_storage_that_cannot_be_reached_is_told_and_exits_with_1(monkeypatch, arguments, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CB_TRADE_STORAGE__ROOT", str(tmp_path / "file"))

    result = run(*arguments)

    assert result.exit_code == 1
    assert "error: storage_unavailable: " in result.stderr
    assert f"in {tmp_path / 'file'} (local, parquet)" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [["verify"], ["stats"], ["delete", "--before", "2024-01-01", "--yes"]])
@pytest.mark.parametrize("backend", ["local", "azure"])
def test_a_storage_that_is_not_there_is_told_and_exits_with_1(monkeypatch, arguments, backend, request, tmp_path):
    name = f"test-{uuid4().hex}"
    monkeypatch.setenv("CB_TRADE_STORAGE__BACKEND", backend)
    if backend == "local":
        monkeypatch.setenv("CB_TRADE_STORAGE__ROOT", str(tmp_path / name))
    else:
        monkeypatch.setenv("CB_TRADE_STORAGE__AZURE__CONNECTION_STRING", request.getfixturevalue("azurite"))
        monkeypatch.setenv("CB_TRADE_STORAGE__AZURE__CONTAINER", name)

    result = run(*arguments)

    assert result.exit_code == 1
    what = f"no folder {tmp_path / name}" if backend == "local" else f"no container {name}"
    assert f"error: storage_unavailable: storage failed at its root: there is {what}\n" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / name).exists()


def test_loading_the_commands_loads_nothing_heavy():
    """`cb-trade --help` loads them, every time."""
    program = (
        "import sys; from cb_trade_data.commands import serve, storage, token; "
        "print([name for name in ('pyarrow', 'fastapi', 'ccxt', 'pydantic', 'numpy') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603

    assert done.stdout == "[]\n"
