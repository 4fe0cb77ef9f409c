"""The examples as their users run them: processes, in front of a real service and a simulated exchange."""

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from crossover_reference import reference
from PIL import Image
from service_harness import at, running_service, token

import backtest_consumer
import strategy_consumer
from backtest_chart import HEIGHT_PIXELS, WIDTH_PIXELS
from cb_trade_data.exchange_source import clock as exchange_clock
from cb_trade_simulator import ExchangeSimulator, ManualClock
from cb_trade_simulator.faults import RowsFault, StatusFault

EXAMPLES = Path(__file__).parents[1]
PROGRAMS = {"backtest": backtest_consumer, "strategy": strategy_consumer}
NOW = at("2024-03-01T12:00") + timedelta(seconds=10)
MINUTE = timedelta(minutes=1)
HOUR_MS = 3_600_000
# Over the outage of 2023-03-24, in which two hourly bars are missing.
BACKTEST = ("binance", "BTC/USDT", "ETH/USDT", "1h", "--start", "2023-03-10", "--end", "2023-04-10")
AVERAGES = ("--fast", "5", "--slow", "12", "--fee-percent", "0.2")
STRATEGY = ("binance", "BTC/USDT", "1m", "--fast", "3", "--slow", "7", "--json")


@pytest.fixture
async def simulator():
    async with ExchangeSimulator(venue="binance", seed=1, clock=ManualClock(NOW)).serve() as running:
        yield running


@pytest.fixture
async def service(simulator, tmp_path):
    async with running_service(tmp_path / "data", simulator.base_url) as running:
        yield running


@pytest.fixture
def _clock_is_read_each_time(monkeypatch):
    """The service follows the exchange's clock wherever it is moved to."""
    monkeypatch.setattr(exchange_clock, "_REFRESH_AFTER", timedelta(0))
    monkeypatch.setattr(exchange_clock, "_RETRY_AFTER", timedelta(0))


@asynccontextmanager
async def started(program, *arguments, url, folder, bearer=None):
    """Run an example for as long as the block lasts."""
    access = {"CB_TRADE_CLIENT__URL": url, "CB_TRADE_CLIENT__TOKEN": token() if bearer is None else bearer}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        EXAMPLES / f"{program}_consumer.py",
        *arguments,
        cwd=folder,
        env=os.environ | access,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(program, *arguments, **where):
    """Run an example to its end; return its exit code and what it wrote."""
    async with started(program, *arguments, **where) as process:
        stdout, stderr = await process.communicate()
        return process.returncode, stdout.decode(), stderr.decode()


def expected(simulator, symbol):
    rows = simulator.candles(symbol, "1h", at("2023-03-10"), at("2023-04-10"))
    columns = [rows[name].tolist() for name in ("timestamp", "open", "close")]
    return len(rows), reference(*columns, step_ms=HOUR_MS, fast_bars=5, slow_bars=12, fee=0.002)


async def test_a_backtest_over_streams_is_the_one_over_the_whole_table(simulator, service, tmp_path):
    code, stdout, stderr = await ended(
        "backtest", *BACKTEST, *AVERAGES, "--json", url=service.socket_url, folder=tmp_path
    )

    assert (code, stderr) == (0, "chart: chart.png\n")
    results = json.loads(stdout)
    assert list(results) == ["BTC/USDT", "ETH/USDT"]
    for symbol, result in results.items():
        bars, truth = expected(simulator, symbol)
        assert bars == 31 * 24 - 1
        assert truth.buys > 10
        assert (result["bars"], result["buys"], result["sells"], result["gaps"]) == (bars, truth.buys, truth.sells, 0)
        for name in ("total_return", "buy_and_hold", "max_drawdown"):
            assert result[name] == pytest.approx(getattr(truth, name))


async def test_a_backtest_shows_people_a_table_and_draws_a_chart(simulator, service, tmp_path):
    (tmp_path / "charts").mkdir()
    where = ("--output", "charts/crossover.png")

    code, stdout, _ = await ended("backtest", *BACKTEST, *AVERAGES, *where, url=service.socket_url, folder=tmp_path)

    assert code == 0
    [row] = [[cell.strip() for cell in line.split("│")[1:-1]] for line in stdout.splitlines() if "ETH/USDT" in line]
    bars, truth = expected(simulator, "ETH/USDT")
    shares = [f"{truth.total_return:+.2%}", f"{truth.buy_and_hold:+.2%}", f"{truth.max_drawdown:.2%}"]
    assert row == ["ETH/USDT", f"{bars:,}", "0", f"{truth.buys} + {truth.sells}", *shares]
    with Image.open(tmp_path / "charts" / "crossover.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (WIDTH_PIXELS, HEIGHT_PIXELS))
        assert len(picture.convert("RGB").getcolors(WIDTH_PIXELS * HEIGHT_PIXELS)) > 100


async def test_a_backtest_tells_the_gaps(simulator, service, tmp_path):
    simulator.inject(StatusFault(503), times=None)

    code, stdout, stderr = await ended("backtest", *BACKTEST, "--json", url=service.socket_url, folder=tmp_path)

    assert code == 0
    assert [result["gaps"] for result in json.loads(stdout).values()] == [1, 1]
    assert "gap in BTC/USDT: 2023-03-10 to 2023-04-10 failed" in stderr


@pytest.mark.parametrize("program", ["backtest", "strategy"])
async def test_what_cannot_be_asked_is_one_line_with_the_next_step(service, tmp_path, program):
    arguments = {
        "backtest": ("binance", "BTC/USDT", "NO/USDT", "1h", "--start", "2024-01-01"),
        "strategy": ("binance", "NO/USDT", "1h"),
    }[program]

    code, stdout, stderr = await ended(program, *arguments, url=service.socket_url, folder=tmp_path)

    assert (code, stdout, stderr.count("\n")) == (1, "", 1)
    assert "[unknown_symbol]; change the command line" in stderr
    assert list(tmp_path.glob("*.png")) == []


@pytest.mark.parametrize(
    ("program", "url", "bearer", "step"),
    [
        ("backtest", "ws://127.0.0.1:1/ws/data", None, "try again later"),
        ("strategy", "ws://127.0.0.1:1/ws/data", None, "try again later"),
        ("backtest", None, "", "get a new token"),
        ("strategy", None, "bad", "get a new token"),
    ],
)
async def test_no_service_and_no_good_token_are_one_line_with_the_next_step(
    service, tmp_path, program, url, bearer, step
):
    arguments = {"backtest": BACKTEST, "strategy": STRATEGY}[program]

    code, _, stderr = await ended(program, *arguments, url=url or service.socket_url, folder=tmp_path, bearer=bearer)

    assert (code, stderr.count("\n")) == (1, 1)
    assert step in stderr


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("backtest", (*BACKTEST, "--fast", "9", "--slow", "9")),
        ("backtest", (*BACKTEST, "--fee-percent", "100")),
        ("backtest", (*BACKTEST, "--output", "nowhere/chart.png")),
        ("backtest", (*BACKTEST, "--output", "chart.jpg")),
        ("backtest", (*BACKTEST, "--start", "yesterday")),
        ("backtest", ("binance", "BTC/USDT", "BTC/USDT", "1h", "--start", "2024-01-01")),
        ("strategy", ("binance", "BTC/USDT", "1x")),
        ("strategy", (*STRATEGY, "--bars", "0")),
        ("strategy", (*STRATEGY, "--fast", "9")),
    ],
)
def test_a_wrong_command_line_ends_before_anything_is_asked(monkeypatch, capsys, program, arguments):
    monkeypatch.setattr(sys, "argv", [f"{program}_consumer.py", *arguments])

    with pytest.raises(SystemExit) as ended:
        PROGRAMS[program].parse_arguments()

    assert ended.value.code == 2
    assert f"{program}_consumer.py: error: " in capsys.readouterr().err


async def test_ctrl_c_ends_a_backtest_without_a_chart(simulator, service, tmp_path):
    simulator.hold("klines")
    async with started("backtest", *BACKTEST, url=service.socket_url, folder=tmp_path) as process:
        await simulator.wait_for_calls("klines", 1)  # the other stream may still be connecting
        process.send_signal(signal.SIGINT)
        stdout, stderr = await process.communicate()
    simulator.release("klines")

    assert (process.returncode, stdout, stderr) == (130, b"", b"interrupted\n")
    assert list(tmp_path.glob("*.png")) == []


def signals_of(simulator, first, count):
    """Return what the strategy is to say of *count* bars from *first* on: closes, averages and signals."""
    rows = simulator.candles("BTC/USDT", "1m", first - 7 * MINUTE, first + count * MINUTE)["close"].tolist()
    means = [[sum(rows[end - bars : end]) / bars for bars in (3, 7)] for end in range(7, len(rows) + 1)]
    above = [fast > slow for fast, slow in means]
    words = ["none" if now == before else "buy" if now else "sell" for before, now in pairwise(above)]
    return [
        {
            "bar": f"{first + number * MINUTE:%Y-%m-%dT%H:%M:%SZ}",
            "close": close,
            "fast": fast,
            "slow": slow,
            "signal": word,
        }
        for number, (close, (fast, slow), word) in enumerate(zip(rows[7:], means[1:], words, strict=True))
    ]


async def told(process, count):
    return [json.loads(await process.stdout.readline()) for _ in range(count)]


def rounded(lines):
    return [{name: round(v, 6) if isinstance(v, float) else v for name, v in line.items()} for line in lines]


@pytest.mark.usefixtures("_clock_is_read_each_time")
async def test_a_strategy_tells_each_closed_bar_once_and_the_exchange_is_called_once_for_it(
    simulator, service, tmp_path
):
    async with started("strategy", *STRATEGY, "--bars", "6", url=service.socket_url, folder=tmp_path) as process:
        assert b"warmed up with 7 bars" in await process.stderr.readline()
        lines = []
        for bars in (1, 2, 3):
            simulator.clock.advance(bars * MINUTE)
            lines += await told(process, bars)
        stdout, stderr = await process.communicate()

    assert rounded(lines) == rounded(signals_of(simulator, at("2024-03-01T12:00"), 6))
    assert (process.returncode, stdout, stderr) == (0, b"", b"ended\n")
    assert simulator.calls.by_endpoint["klines"] == 1 + 3  # the warm-up, and each time that something was new


async def tried_in_vain(port, times):
    """Be at *port* somebody who hangs up, until that has happened so often."""
    tries = asyncio.Semaphore(0)

    async def hang_up(_, writer):
        tries.release()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", port):
        for _ in range(times):
            await tries.acquire()


@pytest.mark.usefixtures("_clock_is_read_each_time")
async def test_a_strategy_goes_on_after_a_restart_of_the_service(simulator, tmp_path):
    async with AsyncExitStack() as processes:
        async with running_service(tmp_path / "data", simulator.base_url) as service:
            strategy = started("strategy", *STRATEGY, "--bars", "3", url=service.socket_url, folder=tmp_path)
            process = await processes.enter_async_context(strategy)
            await process.stderr.readline()
            simulator.clock.advance(MINUTE)
            lines = await told(process, 1)
        simulator.clock.advance(2 * MINUTE)
        await tried_in_vain(service.port, times=3)
        async with running_service(tmp_path / "data", simulator.base_url, port=service.port):
            lines += await told(process, 2)
            stdout, stderr = await process.communicate()

    assert rounded(lines) == rounded(signals_of(simulator, at("2024-03-01T12:00"), 3))
    assert (process.returncode, stdout, stderr) == (0, b"", b"ended\n")


@pytest.mark.usefixtures("_clock_is_read_each_time")
async def test_a_strategy_tells_a_failure_of_the_exchange_and_has_the_bars_when_it_is_back(
    simulator, service, tmp_path
):
    async with started("strategy", *STRATEGY, "--bars", "3", url=service.socket_url, folder=tmp_path) as process:
        await process.stderr.readline()
        simulator.inject(StatusFault(503), times=None)
        simulator.clock.advance(MINUTE)
        [gap] = await told(process, 1)
        simulator.clear_faults()
        async with service.client() as other:
            await other.history_when_back(at("2024-02-01"), at("2024-02-02"))
        simulator.clock.advance(2 * MINUTE)
        bars = await told(process, 3)
        await process.communicate()

    assert (gap["gap"], gap["end"], gap["state"]) == ("2024-03-01T12:00:00Z", "2024-03-01T12:01:00Z", "failed")
    assert rounded(bars) == rounded(signals_of(simulator, at("2024-03-01T12:00"), 3))


@pytest.mark.usefixtures("_clock_is_read_each_time")
async def test_a_strategy_tells_a_gap_and_signals_nothing_across_it(simulator, service, tmp_path):
    async with started("strategy", *STRATEGY, "--bars", "8", url=service.socket_url, folder=tmp_path) as process:
        await process.stderr.readline()
        # One that may still be published late: for a hole so young the service vouches only after a day.
        simulator.inject(RowsFault(lambda rows: [rows[0], *rows[2:]]))
        simulator.clock.advance(10 * MINUTE)
        news = await told(process, 9)
        await process.communicate()

    assert [next(iter(line.values())) for line in news[:3]] == [f"2024-03-01T12:0{minute}:00Z" for minute in range(3)]
    assert (news[1]["end"], news[1]["state"]) == ("2024-03-01T12:02:00Z", "empty")
    assert rounded(news[:1]) == rounded(signals_of(simulator, at("2024-03-01T12:00"), 1))
    assert [line["signal"] for line in news[2:8]] == ["warming_up"] * 6
    assert news[8]["slow"] is not None
    assert news[8]["signal"] == "none"  # on which side it was before is not known


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_strategy_ends_politely_when_it_is_told_to(service, tmp_path, number):
    async with started("strategy", *STRATEGY, url=service.socket_url, folder=tmp_path) as process:
        await process.stderr.readline()
        process.send_signal(number)
        stdout, stderr = await process.communicate()

    assert (process.returncode, stdout, stderr) == (0, b"", b"ended\n")


@pytest.mark.parametrize("program", ["backtest", "strategy"])
def test_the_help_shows_an_example_and_no_token(monkeypatch, capsys, program):
    monkeypatch.setattr(sys, "argv", [f"{program}_consumer.py", "--help"])
    monkeypatch.setenv("CB_TRADE_CLIENT__TOKEN", "secret")

    with pytest.raises(SystemExit):
        PROGRAMS[program].parse_arguments()

    shown = capsys.readouterr().out
    assert f"python examples/{program}_consumer.py binance" in shown
    assert "secret" not in shown
