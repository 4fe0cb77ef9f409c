"""Shows the whole system at work, without a network: history streamed from an exchange, then again from storage.

Starts the exchange simulator and the data service as real processes on free ports, with a temporary folder for
storage, and asks for the same candles twice through the SDK. The simulator counts the calls it serves: some the first
time, none the second. Everything is cleaned up at the end. Run by `./platform.sh demo`.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cb_trade_client import CbTradeError, DataClient
from cb_trade_client.chart import price_chart

CB_TRADE = Path(sys.executable).with_name("cb-trade")
READY_TIMEOUT_SECS = 30
STOP_TIMEOUT_SECS = 10


@dataclass(frozen=True)
class Wanted:
    """What the demo asks for: `start` inclusive, `end` exclusive."""

    symbol: str
    timeframe: str
    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"binance {self.symbol} {self.timeframe}, {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d}"


@dataclass(frozen=True)
class Run:
    """One reading of the history, and what it cost."""

    candles: pa.Table
    elapsed_secs: float
    calls: dict[str, int]

    @property
    def total_calls(self) -> int:
        return sum(self.calls.values())

    def summary(self, name: str) -> str:
        calls = f"{self.total_calls} exchange calls"
        return f"{name}: {self.candles.num_rows} rows in {self.elapsed_secs:.2f} s, {calls}"


class DemoError(Exception):
    """The demo did not show what it promises."""


async def demo(wanted: Wanted, folder: Path) -> None:
    environment = without_settings(os.environ)
    async with running("simulate", environment, folder) as simulator:
        environment |= {
            "CB_TRADE_HOST": "127.0.0.1",
            "CB_TRADE_STORAGE__BACKEND": "local",
            "CB_TRADE_STORAGE__ROOT": str(folder / "storage"),
            "CB_TRADE_AUTH__SECRET": secrets.token_urlsafe(48),
            "CB_TRADE_EXCHANGES__BINANCE__BASE_URL": f"{simulator}/h",
        }
        async with running("serve", environment, folder) as service:
            token = await create_token(environment, folder)
            socket = service.replace("http", "ws", 1) + "/ws/data"
            async with DataClient(socket, token=token) as client:
                print(f"{wanted}\n")
                cold = await read_history(client, wanted, "cold", simulator)
                print(cold.summary("cold") + by_endpoint(cold.calls))
                warm = await read_history(client, wanted, "warm", simulator)
    check(cold, warm)
    print(f"\n{price_chart(cold.candles, f'{wanted.symbol}, closing prices')}\n")
    print(warm.summary("warm"))


async def read_history(client: DataClient, wanted: Wanted, name: str, simulator: str) -> Run:
    """Stream the history once. The calls are counted by the exchange itself, not by who made them."""
    calls_before = await exchange_calls(simulator)
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), TimeElapsedColumn())
    batches: list[pa.RecordBatch] = []
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        started = time.perf_counter()
        async with client.stream("binance", wanted.symbol, wanted.timeframe, wanted.start, wanted.end) as history:
            bar = progress.add_task(name, total=history.started.estimated_rows)
            async for batch in history:
                batches.append(batch)
                progress.advance(bar, batch.num_rows)
        elapsed_secs = time.perf_counter() - started
    if not batches:
        raise DemoError(f"the {name} run delivered no rows")
    calls_after = await exchange_calls(simulator)
    calls = {endpoint: n - calls_before.get(endpoint, 0) for endpoint, n in calls_after.items()}
    return Run(pa.Table.from_batches(batches), elapsed_secs, calls)


def check(cold: Run, warm: Run) -> None:
    if not warm.candles.equals(cold.candles):
        raise DemoError("the second reading delivered other rows than the first")
    if warm.total_calls:
        raise DemoError(f"the second reading called the exchange {warm.total_calls} times{by_endpoint(warm.calls)}")


def by_endpoint(calls: dict[str, int]) -> str:
    made = [f"{endpoint} {n}" for endpoint, n in sorted(calls.items()) if n]
    return f" ({', '.join(made)})" if made else ""


async def exchange_calls(simulator: str) -> dict[str, int]:
    """Return how many calls the simulator has served so far, by endpoint."""
    answer = json.loads(await asyncio.to_thread(get, simulator.removeprefix("http://"), "/_calls"))
    return dict(answer["by_endpoint"])


def get(address: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(address, timeout=READY_TIMEOUT_SECS)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read()


async def create_token(environment: dict[str, str], folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        CB_TRADE, "token", "create", env=environment, cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise DemoError("`cb-trade token create` failed")
    return output.decode().strip()


def without_settings(environment: os._Environ[str]) -> dict[str, str]:
    """Return the environment less our own variables: the demo shows the same on every machine."""
    return {name: value for name, value in environment.items() if not name.startswith("CB_TRADE_")}


@contextlib.asynccontextmanager
async def running(command: str, environment: dict[str, str], folder: Path) -> AsyncIterator[str]:
    """Run `cb-trade COMMAND --port 0` for as long as the block lasts; yield its address."""
    log = folder / f"{command}.log"
    with log.open("wb") as log_file:
        process = await asyncio.create_subprocess_exec(
            CB_TRADE,
            command,
            "--port",
            "0",
            env=environment,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log_file,
            start_new_session=True,  # Ctrl-C is for us; we end our children ourselves, in order
        )
    try:
        yield await address_of(process, command)
    except Exception:
        show_last_lines(log)
        raise
    finally:
        await end(process)


async def address_of(process: asyncio.subprocess.Process, command: str) -> str:
    try:
        line = await asyncio.wait_for(process.stdout.readline(), READY_TIMEOUT_SECS)
    except TimeoutError:
        raise DemoError(f"`cb-trade {command}` was not ready within {READY_TIMEOUT_SECS} s") from None
    said, _, address = line.decode().strip().rpartition(" ")
    if said != "listening on":
        raise DemoError(f"`cb-trade {command}` did not start")
    return address


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        # Not process.terminate(): it would collect an ended child before asyncio does, which then complains.
        os.kill(process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_SECS)
    except TimeoutError:
        process.kill()
        await process.wait()


def show_last_lines(log: Path) -> None:
    if lines := log.read_text(errors="replace").splitlines()[-20:]:
        print(f"The last lines of {log.name}:", *lines, sep="\n  ", file=sys.stderr)


def utc_date(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def parse_arguments() -> Wanted:
    parser = argparse.ArgumentParser(prog="./platform.sh demo", description="Stream the same history twice.")
    parser.add_argument("--symbol", default="BTC/USDT", help="default: %(default)s")
    parser.add_argument("--timeframe", default="1m", help="default: %(default)s")
    parser.add_argument("--start", default="2024-01-01", type=utc_date, help="inclusive, UTC; default: %(default)s")
    parser.add_argument("--end", default="2024-04-01", type=utc_date, help="exclusive, UTC; default: %(default)s")
    return Wanted(**vars(parser.parse_args()))


async def main(wanted: Wanted) -> None:
    # Being told to stop is like Ctrl-C: asyncio cancels us, and everything is cleaned up on the way out.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    with tempfile.TemporaryDirectory(prefix="cb-trade-demo-") as folder:
        await demo(wanted, Path(folder))


if __name__ == "__main__":
    try:
        asyncio.run(main(parse_arguments()))
    except (DemoError, CbTradeError) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        sys.exit(130)
