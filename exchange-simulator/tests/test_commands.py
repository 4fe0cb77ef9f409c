"""`cb-trade simulate` as a user runs it: a process, its output and its end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from cb_trade_simulator.venues import VENUES

COMMAND = [sys.executable, "-c", "import typer; from cb_trade_simulator.commands import simulate; typer.run(simulate)"]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_answers_and_ends_cleanly(end):
    with subprocess.Popen([*COMMAND, "--port", "0"], stdout=-1, stderr=-1, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.removeprefix("listening on ").strip()
        with urllib.request.urlopen(f"{url}/h/api.binance.com/api/v3/ping") as response:  # noqa: S310
            assert response.read() == b"{}"
        process.send_signal(end)
        rest, hint = process.communicate(timeout=10)

    assert url.startswith("http://127.0.0.1:")
    assert rest == ""
    assert f"CB_TRADE_EXCHANGES__BINANCE__BASE_URL={url}/h" in hint
    assert process.returncode == 0


def test_a_port_in_use_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([*COMMAND, "--port", str(port)], capture_output=True, text=True, check=False)  # noqa: S603

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in done.stderr


def test_an_unknown_exchange_is_one_clear_line():
    done = subprocess.run([*COMMAND, "--exchange", "mtgox"], capture_output=True, text=True, check=False)  # noqa: S603

    assert done.returncode == 1
    assert done.stderr == "cb-trade simulate: unknown exchange 'mtgox', there is: " + ", ".join(sorted(VENUES)) + "\n"


def test_importing_the_command_loads_neither_numpy_nor_aiohttp():
    """`cb-trade --help` imports it."""
    check = "import sys, cb_trade_simulator.commands; sys.exit(bool({'numpy', 'aiohttp'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0  # noqa: S603
