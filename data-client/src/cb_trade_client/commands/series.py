"""`cb-trade series`: what is stored."""

from datetime import datetime
from typing import Annotated

import typer

from cb_trade_client.commands import outcome
from cb_trade_client.commands.options import AsJson, Token, Url
from cb_trade_client.instants import to_text
from cb_trade_client.service_url import DEFAULT_URL
from cb_trade_client.terminal import say


def series(
    exchange: Annotated[
        str | None,
        typer.Argument(metavar="[EXCHANGE]", help="Only those of this exchange.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Show which series are stored, and from when until when.

    Example: cb-trade series binance
    """
    from cb_trade_client.client import DataClient
    from cb_trade_client.tables import Column, StandardOutput

    async def work() -> None:
        async with DataClient(url, token=token) as client:
            found = await client.series(exchange)
        if as_json:
            outcome.show_json(found)
            return
        headings = ("EXCHANGE", "SYMBOL", "KIND", "TIMEFRAME", "FIRST", "LAST", "LISTED")
        StandardOutput().table(
            [Column(heading) for heading in headings],
            [
                (
                    each.exchange,
                    each.symbol,
                    each.kind,
                    each.timeframe or "",
                    *map(_shown, (each.first_timestamp, each.last_timestamp, each.listed_at)),
                )
                for each in found
            ],
        )
        if not found:
            say("nothing is stored yet; cb-trade fetch gets and stores history")

    outcome.run(work())


def _shown(moment: datetime | None) -> str:
    return "" if moment is None else to_text(moment)
