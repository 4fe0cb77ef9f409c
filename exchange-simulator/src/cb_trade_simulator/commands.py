"""The command `cb-trade simulate`."""

from __future__ import annotations

# Only what is cheap: every `cb-trade --help` imports this module.
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from cb_trade_simulator.clock import RunningClock
    from cb_trade_simulator.simulator import ExchangeSimulator


def simulate(
    exchange: Annotated[str, typer.Option(help="Whose wire format to speak.")] = "binance",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.", min=0, max=65535)] = 9001,
    seed: Annotated[int, typer.Option(help="Which synthetic past; the same seed, the same prices.", min=0)] = 1,
    now: Annotated[str, typer.Option(help="What its clock shows at the start, ISO 8601; else the machine's.")] = "",
    fault: Annotated[
        list[str] | None, typer.Option(help="KIND[=VALUE][:PROBABILITY][@ENDPOINT], as 429:0.1; may be repeated.")
    ] = None,
    limits: Annotated[bool, typer.Option("--limits", help="Turn away who asks more than the venue allows.")] = False,
) -> None:
    """Run a local exchange with synthetic markets, until interrupted."""
    import asyncio

    from cb_trade_simulator.errors import SimulatorError
    from cb_trade_simulator.simulator import ExchangeSimulator

    try:
        simulator = ExchangeSimulator(exchange, seed, _clock(now))
        for spelling in fault or []:
            simulator.inject(spelling, times=None)
        if limits:
            simulator.limits.enforce()
        asyncio.run(_serve(simulator, exchange, host, port))
    except SimulatorError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot listen on {host}:{port}: {error.strerror or error}")


async def _serve(simulator: ExchangeSimulator, exchange: str, host: str, port: int) -> None:
    import asyncio
    import signal

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with simulator.serve(host, port):
        typer.echo(f"listening on {simulator.url}")
        typer.echo(
            f"point the service at it: CB_TRADE_EXCHANGES__{exchange.upper()}__BASE_URL={simulator.base_url}", err=True
        )
        await stopped.wait()


def _clock(now: str) -> RunningClock:
    from datetime import UTC, datetime

    from cb_trade_simulator.clock import RunningClock

    if not now:
        return RunningClock()
    try:
        moment = datetime.fromisoformat(now)
    except ValueError:
        _fail(f"--now is not a time in ISO 8601: {now!r}")
    return RunningClock(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _fail(problem: str) -> NoReturn:
    typer.echo(f"cb-trade simulate: {problem}", err=True)
    raise typer.Exit(1)
