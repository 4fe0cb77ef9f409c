"""The installed `cb-trade` script as its users run it: a process with real pipes and signals."""

import os
import signal
import subprocess
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from quality_pages import day, gap, page

from cb_trade_client.plugins import GROUP

SCRIPT = Path(sys.executable).with_name("cb-trade")
FETCH = ("fetch", "binance", "BTC/USDT", "1m", "--start", "2024-01-01", "--end", "2024-01-02")


@pytest.fixture
def start_process(tmp_path):
    """Start `cb-trade` in an empty folder with a service's URL and token in its environment."""
    started = []

    def start(service, *arguments):
        access = {"CB_TRADE_CLIENT__URL": service.url, "CB_TRADE_CLIENT__TOKEN": "good.token"}
        process = subprocess.Popen(  # noqa: S603 - our own script
            [SCRIPT, *arguments],
            cwd=tmp_path,
            env=os.environ | access,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_fetch_prints_csv_and_exits_with_zero(run_service, minute_bars, start_process):
    process = start_process(run_service(series=minute_bars(250)), *FETCH)

    stdout, stderr = process.communicate(timeout=30)

    assert process.returncode == 0
    assert len(stdout.splitlines()) == 251
    assert "250 rows in " in stderr


def test_a_reader_that_has_enough_ends_the_fetch_quietly(run_service, minute_bars, start_process):
    process = start_process(run_service(series=minute_bars(1440), chunk_rows=10), *FETCH)

    process.stdout.readline()
    process.stdout.close()

    assert process.wait(timeout=30) == 0
    complaints = process.stderr.read()
    assert "Traceback" not in complaints
    assert "BrokenPipe" not in complaints


def test_ctrl_c_exits_with_130_and_leaves_no_file(run_service, minute_bars, start_process, tmp_path):
    is_under_way = threading.Event()

    def tell(message):
        if message["type"] == "historical_data_chunk":
            is_under_way.set()
        return [message]

    service = run_service(series=minute_bars(250), hold_after_chunks=1, edit=tell)
    process = start_process(service, *FETCH, "-o", "bars.parquet")
    assert is_under_way.wait(30)

    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []
    assert service.connection_ended.wait(5)


def test_the_help_lists_every_installed_plugin_or_says_why_not(run_service, start_process):
    process = start_process(run_service(), "--help")

    stdout, stderr = process.communicate(timeout=30)

    assert process.returncode == 0
    for plugin in entry_points(group=GROUP):
        assert plugin.name in stdout or f"command {plugin.name!r}" in stderr


def test_the_command_starts_without_loading_arrow_or_websockets():
    loaded = (
        "import sys, cb_trade_client.main; print([name for name in ('pyarrow', 'websockets') if name in sys.modules])"
    )

    result = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)  # noqa: S603 - our own code

    assert result.stdout == "[]\n"


def test_a_score_below_the_minimum_counts_though_nobody_reads_the_report(run_service, start_process):
    quiet = [gap("2020-06-27", "2020-06-28", reason=f"reason {number}") for number in range(2000)]
    service = run_service(quality_pages=[page("2020-06-27", "2020-06-28", [day("2020-06-27", held=2, rows=2)], quiet)])
    process = start_process(service, "quality", "binance", "BTC/USDT", "1h", "--minimum", "1", "--json")

    process.stdout.close()

    assert process.wait(timeout=30) == 1
    assert process.stderr.read() == "completeness 0.083 is below the minimum of 1\n"
