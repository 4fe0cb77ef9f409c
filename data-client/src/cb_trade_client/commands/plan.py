"""`cb-trade plan`: what a fetch would cost."""

from datetime import UTC, datetime

import typer

from cb_trade_client.commands import outcome
from cb_trade_client.commands.options import End, Exchanges, Refresh, Start, Symbol, Timeframe, Token, Url, exchanges_of
from cb_trade_client.instants import to_text
from cb_trade_client.kinds import kind_and_timeframe
from cb_trade_client.service_url import DEFAULT_URL


def plan(
    exchange: Exchanges,
    symbol: Symbol,
    timeframe: Timeframe,
    start: Start,
    end: End = None,
    refresh: Refresh = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Show what the same fetch would read from storage and ask of the exchange, without asking it.

    Example: cb-trade plan binance BTC/USDT 1h --start 2024-01-01 --end 2024-02-01
    """
    from cb_trade_client.client import DataClient

    async def work() -> None:
        kind, bars = kind_and_timeframe(timeframe)
        until = end or datetime.now(UTC)
        async with DataClient(url, token=token) as client:
            result = await client.plan(exchanges_of(exchange), symbol, bars, start, until, refresh=refresh, kind=kind)
        if exchange != result.exchange:
            typer.echo(f"exchange         {result.exchange}")
        typer.echo(f"rows in storage  {result.rows_in_storage:,}")
        # Without bars nobody knows how many rows are missing.
        at_least = "at least " if bars is None and result.exchange_calls else ""
        typer.echo(f"exchange calls   {at_least}{result.exchange_calls:,}")
        for span in result.missing:
            typer.echo(f"missing          {to_text(span.start)} … {to_text(span.end)}")
        if result.missing_truncated:
            typer.echo("missing          … and more, later")

    outcome.run(work())
