"""The command `cb-trade simulate`."""

from __future__ import annotations

# Only what is cheap: every `cb-trade --help` imports this module.
from typing import Annotated

import typer


def simulate(
    exchange: Annotated[str, typer.Option(help="Whose wire format to speak.")] = "binance",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.", min=0, max=65535)] = 9001,
    seed: Annotated[int, typer.Option(help="Which synthetic past; the same seed, the same prices.", min=0)] = 1,
) -> None:
    """Run a local exchange with synthetic markets, until interrupted."""
    import asyncio

    from cb_trade_simulator.errors import SimulatorError

    try:
        asyncio.run(_serve(exchange, host, port, seed))
    except SimulatorError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot listen on {host}:{port}: {error.strerror or error}")


async def _serve(exchange: str, host: str, port: int, seed: int) -> None:
    import asyncio
    import signal

    from cb_trade_simulator.simulator import ExchangeSimulator

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with ExchangeSimulator(exchange, seed).serve(host, port) as simulator:
        typer.echo(f"listening on {simulator.url}")
        typer.echo(
            f"point the service at it: CB_TRADE_EXCHANGES__{exchange.upper()}__BASE_URL={simulator.base_url}", err=True
        )
        await stopped.wait()


def _fail(problem: str) -> None:
    typer.echo(f"cb-trade simulate: {problem}", err=True)
    raise typer.Exit(1)
