"""`cb-trade plan`: what a fetch would cost."""

import typer

from cb_trade_client.commands import outcome
from cb_trade_client.commands.options import (
    Derive,
    End,
    Exchanges,
    FillWith,
    Refresh,
    Start,
    Symbol,
    Timeframe,
    Token,
    Url,
    end_or_newest,
    exchanges_of,
)
from cb_trade_client.instants import to_text
from cb_trade_client.kinds import kind_and_timeframe
from cb_trade_client.requests import NO_FILL
from cb_trade_client.service_url import DEFAULT_URL


def plan(
    exchange: Exchanges,
    symbol: Symbol,
    timeframe: Timeframe,
    start: Start,
    end: End = None,
    derive: Derive = False,
    fill: FillWith = NO_FILL,
    refresh: Refresh = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Show what the same fetch would read from storage and ask of the exchange, without asking it.

    Of bars that are derived, all of it is about the shorter ones that they are made of.

    Example: cb-trade plan binance BTC/USDT 1h --start 2024-01-01 --end 2024-02-01
    """
    from cb_trade_client.client import DataClient

    async def work() -> None:
        kind, bars = kind_and_timeframe(timeframe)
        until = end_or_newest(start, end)
        async with DataClient(url, token=token) as client:
            wanted = (exchanges_of(exchange), symbol, bars, start, until)
            result = await client.plan(*wanted, refresh=refresh, kind=kind, derive=derive, fill=fill)
        if exchange != result.exchange:
            typer.echo(f"exchange         {result.exchange}")
        if result.derived_from is not None:
            typer.echo(f"derived from     {result.derived_from}")
        typer.echo(f"rows in storage  {result.rows_in_storage:,}")
        # Without bars nobody knows how many rows are missing.
        at_least = "at least " if bars is None and result.exchange_calls else ""
        typer.echo(f"exchange calls   {at_least}{result.exchange_calls:,}")
        for span in result.missing:
            typer.echo(f"missing          {to_text(span.start)} … {to_text(span.end)}")
        if result.missing_truncated:
            typer.echo("missing          … and more, later")

    outcome.run(work())
