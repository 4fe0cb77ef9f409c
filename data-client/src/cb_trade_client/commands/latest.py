"""`cb-trade latest`: how far a series reaches."""

import typer

from cb_trade_client.commands import outcome
from cb_trade_client.commands.options import Derive, Exchanges, Symbol, Timeframe, Token, Url, exchanges_of
from cb_trade_client.instants import to_text
from cb_trade_client.kinds import kind_and_timeframe
from cb_trade_client.service_url import DEFAULT_URL


def latest(
    exchange: Exchanges,
    symbol: Symbol,
    timeframe: Timeframe,
    derive: Derive = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Show how far a series is stored and how far its bars have closed on the exchange.

    Of bars that are derived: the newest one of which every part is stored.

    Example: cb-trade latest binance BTC/USDT 5m
    """
    from cb_trade_client.client import DataClient

    async def work() -> None:
        kind, bars = kind_and_timeframe(timeframe)
        async with DataClient(url, token=token) as client:
            reach = await client.latest(exchanges_of(exchange), symbol, bars, kind=kind, derive=derive)
        if exchange != reach.exchange:
            typer.echo(f"exchange           {reach.exchange}")
        if reach.derived_from is not None:
            typer.echo(f"derived from       {reach.derived_from}")
        newest = "newest whole bar " if reach.derived_from else f"newest stored {'row' if bars is None else 'bar'}"
        typer.echo(f"{newest}  {to_text(reach.timestamp) if reach.timestamp else 'none'}")
        typer.echo(f"closed until       {to_text(reach.closed_until)}")

    outcome.run(work())
