"""`cb-trade latest`: how far a series reaches."""

import typer

from cb_trade_client.commands import outcome
from cb_trade_client.commands.options import Exchange, Symbol, Timeframe, Token, Url
from cb_trade_client.instants import to_text
from cb_trade_client.service_url import DEFAULT_URL


def latest(
    exchange: Exchange,
    symbol: Symbol,
    timeframe: Timeframe,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Show how far a series is stored and how far its bars have closed on the exchange.

    Example: cb-trade latest binance BTC/USDT 5m
    """
    from cb_trade_client.client import DataClient

    async def work() -> None:
        async with DataClient(url, token=token) as client:
            reach = await client.latest(exchange, symbol, timeframe)
        typer.echo(f"newest stored bar  {to_text(reach.timestamp) if reach.timestamp else 'none'}")
        typer.echo(f"closed until       {to_text(reach.closed_until)}")

    outcome.run(work())
